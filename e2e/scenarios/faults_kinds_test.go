package scenarios

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"portcullis.dev/e2e/internal/kit"
)

const ingressForWeb = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: web }
spec:
  ingressClassName: portcullis
  rules:
    - host: %s
      http:
        paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }]
`

// TestKindForbidden takes the leave to read GRPCRoutes away. Everything else is served, also by pods that start like
// this, and who asks whether they are ready learns what they lack.
func TestKindForbidden(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	s.EchoIn(s.Namespace, "grpc", 1, "GRPC_ECHO_SERVER=1")
	s.AwaitDeployment(s.Namespace, "grpc")
	_, load := underLoad(s, "web", "")

	roles := s.Kube.RbacV1().ClusterRoles()
	const name = "portcullis-portcullis"
	full, err := roles.Get(s.Context(), name, metav1.GetOptions{})
	s.Must(err)
	set := func(rules []rbacv1.PolicyRule) error {
		role, err := roles.Get(s.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		role.Rules = rules
		_, err = roles.Update(s.Context(), role, metav1.UpdateOptions{})
		return err
	}
	less := full.DeepCopy().Rules
	for i := range less {
		less[i].Resources = slices.DeleteFunc(less[i].Resources, func(resource string) bool { return resource == "grpcroutes" })
	}
	t.Cleanup(func() { s.Eventually("the role as it was", func() error { return set(full.Rules) }) })
	s.Eventually("the role without GRPCRoutes", func() error { return set(less) })
	s.Roll("portcullis", "portcullis")
	for _, pod := range s.PortcullisPods() {
		page := s.Admin(pod, "/readyz")
		var said struct {
			Ready    bool     `json:"ready"`
			Missing  []string `json:"missing"`
			Degraded []string `json:"degraded"`
		}
		s.Must(json.Unmarshal([]byte(page.Body), &said))
		if page.Status != 200 || !said.Ready {
			t.Errorf("/readyz of %s: %d %s", pod.Name, page.Status, page.Body)
		}
		if len(said.Degraded) != 1 || !strings.Contains(said.Degraded[0], "grpcroutes") || !strings.Contains(said.Degraded[0], "forbidden") {
			t.Errorf("/readyz of %s does not name GRPCRoutes and nothing else: %s", pod.Name, page.Body)
		}
	}
	s.Apply(gatewayAndRoute, "meanwhile", "meanwhile.example.com", "web")
	s.Apply(ingressForWeb, "ingress.meanwhile.example.com")
	s.Apply(grpcGateway, "grpc.meanwhile.example.com")
	client := &kit.Client{Address: s.AwaitGateway(s.Namespace, "meanwhile")}
	s.Expect(client, "http://meanwhile.example.com/", kit.Want{Service: "web"})
	s.Expect(client, "http://ingress.meanwhile.example.com/", kit.Want{Service: "web"})
	caller := grpcClient(s, client.Address, "grpc.meanwhile.example.com")
	if err := callEcho(s, caller); err == nil {
		t.Error("a GRPCRoute is served that nobody may read")
	}

	s.Eventually("the role as it was", func() error { return set(full.Rules) })
	s.Eventually("the GRPCRoute, served", func() error { return callEcho(s, caller) })
	for _, pod := range s.PortcullisPods() {
		s.Eventually("/readyz of "+pod.Name+" without complaints", func() error {
			if page := s.Admin(pod, "/readyz"); page.Status != 200 || strings.Contains(page.Body, "degraded") {
				return fmt.Errorf("%d %s", page.Status, page.Body)
			}
			return nil
		})
	}
	load.StopClean("without leave, restarted, with leave")
}

// TestKindRemoved takes the CRD of HTTPRoutes away, with every object of it, and installs it again.
func TestKindRemoved(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	host := s.Namespace + ".example.com"
	s.Apply(ingressForWeb, host)
	s.Apply(gatewayAndRoute, "route", "route.example.com", "web")
	client := &kit.Client{Address: s.AwaitGateway(s.Namespace, "route")}
	ingress := kit.Load{Client: client, URL: "http://" + host + "/", Want: kit.Want{Service: "web"}, Workers: 4, Fresh: 2}
	s.Expect(client, ingress.URL, ingress.Want)
	s.Expect(client, "http://route.example.com/", kit.Want{Service: "web"})
	load := s.Start(ingress)
	before := portcullisRestarts(s)

	crds := s.Dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	const name = "httproutes.gateway.networking.k8s.io"
	crd, err := crds.Get(s.Context(), name, metav1.GetOptions{})
	s.Must(err)
	again := func() {
		s.Eventually("the CRD, installed again", func() error {
			_, err := crds.Create(s.Context(), asNew(crd), metav1.CreateOptions{})
			if apierrors.IsAlreadyExists(err) {
				return isServed(s, name)
			}
			if err != nil {
				return err
			}
			return isServed(s, name)
		})
	}
	t.Cleanup(again)
	s.Must(crds.Delete(s.Context(), name, metav1.DeleteOptions{}))
	s.Eventually("the end of the CRD", func() error {
		_, err := crds.Get(s.Context(), name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there still: %v", err)
	})
	s.Expect(client, "http://route.example.com/", kit.Want{Status: 404})
	s.Apply(ingressForWeb, host) // the same; and one that is new while the kind is away
	s.Apply(strings.Replace(ingressForWeb, "name: web }\nspec", "name: new }\nspec", 1), "new.route.example.com")
	s.Expect(client, "http://new.route.example.com/", kit.Want{Service: "web"})

	again()
	s.Apply(gatewayAndRoute, "route", "route.example.com", "web")
	s.Expect(client, "http://route.example.com/", kit.Want{Service: "web"})
	s.AwaitRoute(s.Namespace, "route")
	load.StopClean("CRD removed and installed again")
	if after := portcullisRestarts(s); after != before {
		t.Errorf("containers of Portcullis were started again: %s before, %s after", before, after)
	}
}

// asNew is an object as it can be created once more.
func asNew(object *unstructured.Unstructured) *unstructured.Unstructured {
	fresh := object.DeepCopy()
	for _, field := range []string{"resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"} {
		unstructured.RemoveNestedField(fresh.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(fresh.Object, "status")
	return fresh
}

// isServed tells whether the API server serves a CRD's objects.
func isServed(s *kit.S, crd string) error {
	plural, group, _ := strings.Cut(crd, ".")
	_, err := s.Dynamic.Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: plural}).
		List(s.Context(), metav1.ListOptions{Limit: 1})
	return err
}

// portcullisRestarts names Portcullis's pods with how often each was started again.
func portcullisRestarts(s *kit.S) string {
	var all []string
	for _, pod := range s.PortcullisPods() {
		for _, status := range pod.Status.ContainerStatuses {
			all = append(all, fmt.Sprintf("%s: %d", pod.Name, status.RestartCount))
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
