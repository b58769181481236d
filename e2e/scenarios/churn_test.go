package scenarios

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"portcullis.dev/e2e/internal/kit"
)

// underLoad serves a Service by a Gateway with a certificate, and starts to ask for it.
func underLoad(s *kit.S, service string, extra string) (kit.Load, *kit.Running) {
	s.T.Helper()
	host := s.Namespace + ".example.com"
	certificate := s.NewCertificate(host)
	s.Secret("load", certificate)
	s.Apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: load }
spec:
  gatewayClassName: portcullis
  listeners:
    - { name: https, port: 443, protocol: HTTPS, hostname: %[1]s, tls: { certificateRefs: [{ name: load }] } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: load }
spec:
  parentRefs: [{ name: load }]
  rules: [{ backendRefs: [{ name: %[2]s, port: 80 }]%[3]s }]
`, host, service, extra)
	l := kit.Load{
		Client: &kit.Client{Address: s.AwaitGateway(s.Namespace, "load"), Roots: kit.Roots(certificate)},
		URL:    "https://" + host + "/", Want: kit.Want{Service: service}, Workers: 4, Fresh: 2,
	}
	s.Expect(l.Client, l.URL, l.Want)
	return l, s.Start(l)
}

// TestBackendsScaledAndRolled loses no request while pods come and go in order.
func TestBackendsScaledAndRolled(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	_, load := underLoad(s, "web", "")
	s.Scale(s.Namespace, "web", 10)
	s.Roll(s.Namespace, "web")
	s.Scale(s.Namespace, "web", 1)
	load.StopClean("scaled 1 to 10, rolled, to 1")
}

// TestBackendKilled has a pod ended with -9. Retries are the route's own wish.
func TestBackendKilled(t *testing.T) {
	s := kit.New(t)
	s.EchoIn(s.Namespace, "web", 3)
	s.AwaitDeployment(s.Namespace, "web")
	_, load := underLoad(s, "web", ", retry: { codes: [502, 503], attempts: 3 }")
	for _, pod := range s.Pods(s.Namespace, "app=web") {
		s.KillPod(pod)
		s.Eventually("restart of "+pod.Name, func() error {
			got, err := s.Kube.CoreV1().Pods(s.Namespace).Get(s.Context(), pod.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, status := range got.Status.ContainerStatuses {
				if status.RestartCount == 0 || !status.Ready {
					return fmt.Errorf("restarts %d, ready %t", status.RestartCount, status.Ready)
				}
			}
			return nil
		})
	}
	load.StopClean("3 pods killed with -9")
}

// TestRoutesChanged adds, edits and deletes routes beside the one that is asked for.
func TestRoutesChanged(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	_, load := underLoad(s, "web", "")
	routes := s.Gateway.GatewayV1().HTTPRoutes(s.Namespace)
	const changes = 500
	for i := 0; i < changes; i += 5 {
		for j := range 3 { // made, edited, edited
			s.Apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: beside-%[1]d }
spec:
  parentRefs: [{ name: load }]
  rules:
    - matches: [{ path: { value: /beside/%[1]d/%[2]d } }]
      filters: [{ type: ResponseHeaderModifier, responseHeaderModifier: { set: [{ name: x-edit, value: "%[2]d" }] } }]
      backendRefs: [{ name: web, port: 80, weight: %[2]d }, { name: web, port: 80 }]
`, i, j)
		}
		// An edit of the route itself, and the end of the other.
		patch := fmt.Sprintf(`{"metadata":{"annotations":{"edit":"%d"}},"spec":{"rules":[{"backendRefs":[{"name":"web","port":80}],"filters":[{"type":"RequestHeaderModifier","requestHeaderModifier":{"set":[{"name":"x-edit","value":"%d"}]}}]}]}}`, i, i)
		_, err := routes.Patch(s.Context(), "load", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		s.Must(err)
		s.Must(routes.Delete(s.Context(), fmt.Sprintf("beside-%d", i), metav1.DeleteOptions{}))
	}
	load.StopClean(fmt.Sprintf("%d changes of routes", changes))
}

// TestCertificateRotated shows the new certificate to new connections, and breaks no old one.
func TestCertificateRotated(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	host := s.Namespace + ".example.com"
	var certificates []kit.Certificate
	for range 5 {
		certificates = append(certificates, s.NewCertificate(host))
	}
	l, first := underLoad(s, "web", "")
	first.Stop()
	l.Client = l.Client.Another(func(c *kit.Client) { c.Roots = kit.Roots(certificates...) })
	s.Secret("load", certificates[0])
	shows(s, l, certificates[0])
	load := s.Start(l)
	for _, next := range certificates[1:] {
		s.Secret("load", next)
		shows(s, l, next)
	}
	load.StopClean("4 rotations")
}

func shows(s *kit.S, l kit.Load, want kit.Certificate) {
	s.T.Helper()
	client := l.Client.Another(func(c *kit.Client) { c.Fresh = true })
	s.Eventually("the new certificate", func() error {
		answer, err := client.Get(s.Context(), l.URL)
		if err != nil {
			return err
		}
		if got := answer.TLS.PeerCertificates[0].SerialNumber; got.Cmp(want.Serial) != 0 {
			return fmt.Errorf("certificate %v, want %v", got, want.Serial)
		}
		return nil
	})
}

// TestPortcullisRolledAndScaled replaces its pods, and has more and fewer of them.
func TestPortcullisRolledAndScaled(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	_, load := underLoad(s, "web", "")
	s.Roll("portcullis", "portcullis")
	for _, size := range []int32{1, 3, 1, 2} {
		s.Scale("portcullis", "portcullis", size)
	}
	load.StopClean("rolled, then 1, 3, 1, 2 replicas")
}

// TestLeaderKilled ends the pod that writes statuses. Requests on its connections end with it, and those alone: a
// worker loses the one that was in flight. What is asked by new connections afterwards is served by the others, and
// statuses are written again.
func TestLeaderKilled(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	leader := s.Leader("portcullis", "portcullis")
	pod, err := s.Kube.CoreV1().Pods("portcullis").Get(s.Context(), leader, metav1.GetOptions{})
	s.Must(err)
	l, load := underLoad(s, "web", "")
	s.KillPod(*pod)
	// Gone for good: the kubelet would start it again under the same name, and it would find its own Lease.
	now := int64(0)
	s.Must(s.Kube.CoreV1().Pods("portcullis").Delete(s.Context(), leader, metav1.DeleteOptions{GracePeriodSeconds: &now}))
	begin := time.Now()
	s.Eventually("another leader", func() error {
		if now := s.Leader("portcullis", "portcullis"); now == leader {
			return fmt.Errorf("it is still %s", now)
		}
		return nil
	})
	took := time.Since(begin)
	s.Apply(gatewayAndRoute, "after", "after.example.com", "web")
	s.AwaitGateway(s.Namespace, "after")
	s.AwaitDeployment("portcullis", "portcullis")
	report := load.Stop()
	if most := l.Workers + l.Fresh; report.Failed > 2*most {
		t.Errorf("%d of %d requests failed, more than %d: %v", report.Failed, report.Requests, 2*most, report.Failures)
	}
	s.Figure("another leader after %.1f s; %d requests, %d failed with the pod", took.Seconds(), report.Requests, report.Failed)
}

// TestKubeProxyRestarted leaves connections alone, and new ones are served all the time.
func TestKubeProxyRestarted(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	_, load := underLoad(s, "web", "")
	for _, node := range s.Cluster.Nodes {
		s.StopAndStart("kube-proxy-"+node.Name, 3*time.Second)
		s.AwaitNodes(corev1.ConditionTrue)
	}
	load.StopClean("kube-proxy of both nodes")
}

// TestControlPlaneGone goes on serving what was known while API server and etcd are away.
func TestControlPlaneGone(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	_, load := underLoad(s, "web", "")
	s.StopAndStart("kube-apiserver", 0, "etcd")
	s.Must(s.Cluster.AwaitAPI(s.Context()))
	s.AwaitNodes(corev1.ConditionTrue)
	s.Apply(gatewayAndRoute, "after", "after.example.com", "web")
	s.Expect(&kit.Client{Address: s.AwaitGateway(s.Namespace, "after")}, "http://after.example.com/", kit.Want{Service: "web"})
	load.StopClean("60 s without API server and etcd")
}
