package chart

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Whatever selects pods selects the chart's, and each port that is named is there.
func TestEverythingFindsThePods(t *testing.T) {
	forEachCase(t, func(t *testing.T, objects objects) {
		template := pods(t, objects)
		container := template.Spec.Containers[0]
		selectors := map[string]map[string]string{}
		for _, service := range every[*corev1.Service](objects) {
			selectors["Service "+service.Name] = service.Spec.Selector
		}
		for _, deployment := range every[*appsv1.Deployment](objects) {
			selectors["Deployment"] = deployment.Spec.Selector.MatchLabels
		}
		for _, daemonSet := range every[*appsv1.DaemonSet](objects) {
			selectors["DaemonSet"] = daemonSet.Spec.Selector.MatchLabels
		}
		for _, budget := range every[*policyv1.PodDisruptionBudget](objects) {
			selectors["PodDisruptionBudget"] = budget.Spec.Selector.MatchLabels
		}
		for _, policy := range every[*networkingv1.NetworkPolicy](objects) {
			selectors["NetworkPolicy"] = policy.Spec.PodSelector.MatchLabels
		}
		for kind, selector := range selectors {
			if len(selector) == 0 || !labels.SelectorFromSet(selector).Matches(labels.Set(template.Labels)) {
				t.Errorf("%s selects %v, pods have %v", kind, selector, template.Labels)
			}
		}
		for _, service := range every[*corev1.Service](objects) {
			for _, served := range service.Spec.Ports {
				// The ports of TCP and UDP services are bound while the pods run.
				if served.TargetPort.Type == intstr.Int {
					continue
				}
				if _, found := port(container, served.TargetPort.String()); !found {
					t.Errorf("port %d of %s leads to %s, which the pods lack", served.Port, service.Name, served.TargetPort.String())
				}
			}
		}
		for _, probe := range []*corev1.Probe{container.ReadinessProbe, container.LivenessProbe} {
			if _, found := port(container, probe.HTTPGet.Port.String()); !found {
				t.Errorf("%s is asked at %s, which the pods lack", probe.HTTPGet.Path, probe.HTTPGet.Port.String())
			}
		}
		for _, autoscaler := range every[*autoscalingv2.HorizontalPodAutoscaler](objects) {
			scaled := only[*appsv1.Deployment](t, objects)
			if autoscaler.Spec.ScaleTargetRef.Name != scaled.Name || scaled.Spec.Replicas != nil {
				t.Errorf("%s is scaled, and %s has %v replicas", autoscaler.Spec.ScaleTargetRef.Name, scaled.Name, scaled.Spec.Replicas)
			}
		}
	})
}

// A ServiceMonitor scrapes the admin port, and never what clients come to.
func TestServiceMonitorFindsTheAdminPort(t *testing.T) {
	forEachCase(t, func(t *testing.T, objects objects) {
		for _, monitor := range every[*ServiceMonitor](objects) {
			selector, err := metav1.LabelSelectorAsSelector(&monitor.Spec.Selector)
			if err != nil {
				t.Fatal(err)
			}
			var scraped []string
			for _, service := range every[*corev1.Service](objects) {
				if !selector.Matches(labels.Set(service.Labels)) {
					continue
				}
				for _, served := range service.Spec.Ports {
					if served.Name == monitor.Spec.Endpoints[0].Port {
						scraped = append(scraped, service.Name+" "+served.TargetPort.String())
					}
				}
			}
			if !slices.Equal(scraped, []string{"portcullis-metrics admin"}) {
				t.Errorf("scraped are %v", scraped)
			}
		}
	})
}

// entrance is the Service that clients come in through.
func entrance(t *testing.T, objects objects) *corev1.Service {
	t.Helper()
	for _, service := range every[*corev1.Service](objects) {
		if slices.ContainsFunc(service.Spec.Ports, func(port corev1.ServicePort) bool { return port.Port == 443 }) {
			return service
		}
	}
	t.Fatal("no Service has a port 443")
	return nil
}

// Ports and names in flags are those of the objects around them.
func TestFlagsAndObjectsAgree(t *testing.T) {
	forEachCase(t, func(t *testing.T, objects objects) {
		container := pods(t, objects).Spec.Containers[0]
		for flag, name := range map[string]string{
			"--service=$(POD_NAMESPACE)/": entrance(t, objects).Name,
			"--lease=$(POD_NAMESPACE)/":   only[*coordinationv1.Lease](t, objects).Name,
		} {
			if !slices.Contains(container.Args, flag+name) {
				t.Errorf("no %s%s in %v", flag, name, container.Args)
			}
		}
		for _, class := range every[*networkingv1.IngressClass](objects) {
			if !slices.Contains(container.Args, "--ingress-class="+class.Name) {
				t.Errorf("no --ingress-class=%s in %v", class.Name, container.Args)
			}
		}
		admin, _ := port(container, "admin")
		at := slices.IndexFunc(container.Args, func(arg string) bool { return strings.HasPrefix(arg, "--admin=") })
		bound, err := netip.ParseAddrPort(strings.TrimPrefix(container.Args[at], "--admin="))
		if err != nil || int32(bound.Port()) != admin {
			t.Errorf("%s (%v), and the container says %d", container.Args[at], err, admin)
		}
		for _, probe := range []*corev1.Probe{container.ReadinessProbe, container.LivenessProbe} {
			asked := probe.HTTPGet.Host
			if !bound.Addr().IsUnspecified() && bound.Addr().String() != asked || bound.Addr().IsUnspecified() && asked != "" {
				t.Errorf("%s, and the kubelet asks at %q", container.Args[at], asked)
			}
		}
	})
}

// The restricted Pod Security Standard, but for pods on the nodes' network, which it does not know.
func TestPodsHaveNoPrivileges(t *testing.T) {
	forEachCase(t, func(t *testing.T, objects objects) {
		pod := pods(t, objects).Spec
		context := pod.Containers[0].SecurityContext
		never := false
		if !reflect.DeepEqual(context.AllowPrivilegeEscalation, &never) || !reflect.DeepEqual(context.Privileged, &never) {
			t.Error("privileges may be gained")
		}
		if context.ReadOnlyRootFilesystem == nil || !*context.ReadOnlyRootFilesystem {
			t.Error("the root file system can be written")
		}
		if pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Error("system calls are not filtered")
		}
		if !slices.Equal(context.Capabilities.Drop, []corev1.Capability{"ALL"}) {
			t.Errorf("capabilities dropped: %v", context.Capabilities.Drop)
		}
		added, user := context.Capabilities.Add, *pod.SecurityContext.RunAsUser
		nonRoot := pod.SecurityContext.RunAsNonRoot != nil && *pod.SecurityContext.RunAsNonRoot
		switch pod.HostNetwork {
		case true:
			if !slices.Equal(added, []corev1.Capability{"NET_BIND_SERVICE"}) || user != 0 || nonRoot {
				t.Errorf("on the nodes' ports below 1024: capabilities %v, user %d, non-root %v", added, user, nonRoot)
			}
		case false:
			if len(added) != 0 || user != 65532 || !nonRoot {
				t.Errorf("capabilities %v, user %d, non-root %v", added, user, nonRoot)
			}
		}
		isOfNode := func(volume corev1.Volume) bool { return volume.EmptyDir == nil || volume.EmptyDir.SizeLimit == nil }
		if pod.HostPID || pod.HostIPC || slices.ContainsFunc(pod.Volumes, isOfNode) || len(pod.InitContainers) != 0 {
			t.Error("something of the node is in the pod")
		}
	})
}

// A policy opens what listeners bind, and the admin port to nobody that was not named.
func TestNetworkPolicyKeepsTheAdminPortClosed(t *testing.T) {
	seen := false
	text, err := template(t, chartDir, "--values", "testdata/network-policy/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects := decode(t, text)
	container := pods(t, objects).Spec.Containers[0]
	for _, rule := range only[*networkingv1.NetworkPolicy](t, objects).Spec.Ingress {
		opens := func(number int32) bool {
			return slices.ContainsFunc(rule.Ports, func(port networkingv1.NetworkPolicyPort) bool {
				if port.Protocol != nil && *port.Protocol != corev1.ProtocolTCP {
					return false
				}
				last := port.Port.IntVal
				if port.EndPort != nil {
					last = *port.EndPort
				}
				return port.Port.IntVal <= number && number <= last
			})
		}
		admin, _ := port(container, "admin")
		if opens(admin) {
			if len(rule.From) == 0 {
				t.Error("the admin port is open to everybody")
			}
			seen = true
			continue
		}
		http, _ := port(container, "http")
		https, _ := port(container, "https")
		for _, number := range []int32{1, http, https, 20000, 29999, 65535} {
			if !opens(number) || len(rule.From) != 0 {
				t.Errorf("port %d is not open to everybody", number)
			}
		}
	}
	if !seen {
		t.Error("the admin port is closed to those who were named")
	}
}

// What helm would leave behind, or write over what is not the release's.
func TestUninstallingTakesEverythingAway(t *testing.T) {
	forEachCase(t, func(t *testing.T, objects objects) {
		for _, object := range objects {
			about, err := meta.Accessor(object)
			if err != nil {
				t.Fatal(err)
			}
			// GatewayParameters go with their kind.
			_, goesAnyway := object.(*GatewayParameters)
			if policy, found := about.GetAnnotations()["helm.sh/resource-policy"]; found && !goesAnyway {
				t.Errorf("%s has helm.sh/resource-policy: %s", about.GetName(), policy)
			}
			if about.GetLabels()["app.kubernetes.io/instance"] != "portcullis" {
				t.Errorf("%s does not say which release it is of", about.GetName())
			}
		}
	})
}

func TestEachBindingNamesARoleAndTheAccount(t *testing.T) {
	forEachCase(t, func(t *testing.T, objects objects) {
		account := only[*corev1.ServiceAccount](t, objects).Name
		if pods(t, objects).Spec.ServiceAccountName != account {
			t.Errorf("the pods do not run as %s", account)
		}
		want := []rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: "edge"}}
		roles, bound := map[string]bool{}, map[string]bool{}
		for _, role := range every[*rbacv1.Role](objects) {
			roles["Role "+role.Namespace+"/"+role.Name] = true
		}
		for _, role := range every[*rbacv1.ClusterRole](objects) {
			roles["ClusterRole /"+role.Name] = true
		}
		bind := func(namespace string, to rbacv1.RoleRef, subjects []rbacv1.Subject) {
			bound[to.Kind+" "+namespace+"/"+to.Name] = true
			if !reflect.DeepEqual(subjects, want) {
				t.Errorf("%s is bound to %v", to.Name, subjects)
			}
		}
		for _, binding := range every[*rbacv1.RoleBinding](objects) {
			bind(binding.Namespace, binding.RoleRef, binding.Subjects)
		}
		for _, binding := range every[*rbacv1.ClusterRoleBinding](objects) {
			bind("", binding.RoleRef, binding.Subjects)
		}
		if !reflect.DeepEqual(roles, bound) {
			t.Errorf("roles %v, and bound are %v", roles, bound)
		}
	})
}
