package scenarios

import (
	"context"
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
	awaitReachable(s, l)
	return l, s.Start(l)
}

// awaitReachable waits until each new connection leads to a pod that lives, and has bound the port.
func awaitReachable(s *kit.S, l kit.Load) {
	s.T.Helper()
	client := l.Client.Another(func(c *kit.Client) { c.Fresh = true })
	s.Eventually("50 new connections, one after the other", func() error {
		for range 50 { // with two pods, one of them is left out by a chance of 1 in 2^50
			ctx, cancel := context.WithTimeout(s.Context(), 2*time.Second)
			answer, err := client.Get(ctx, l.URL)
			cancel()
			if err != nil {
				return err
			}
			if err := l.Want.Check(answer); err != nil {
				return err
			}
		}
		return nil
	})
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

// TestControlPlaneGone goes on serving what was known while API server, etcd and what depends on them are away, and goes on from there when
// they are back.
func TestControlPlaneGone(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	_, load := underLoad(s, "web", "")
	s.NoControlPlane(s.Outage)
	begin := time.Now()
	s.Apply(gatewayAndRoute, "after", "after.example.com", "web")
	client := &kit.Client{Address: s.AwaitGateway(s.Namespace, "after")}
	s.Expect(client, "http://after.example.com/", kit.Want{Service: "web"})
	s.AwaitRoute(s.Namespace, "after")
	took := time.Since(begin)
	// Kubernetes itself takes longer to read everything again, and the scenarios after this one need it.
	s.AwaitNodes(corev1.ConditionTrue)
	s.Echo("again")
	s.Apply(gatewayAndRoute, "again", "again.example.com", "again")
	s.Expect(client.Another(nil), "http://again.example.com/", kit.Want{Service: "again"})
	leader := awaitStableLeader(s)
	load.StopClean(fmt.Sprintf("%.0f s without a control plane", s.Outage.Seconds()))
	s.Figure("changes are served %.1f s after the API server is back, %s leads", took.Seconds(), leader)
}
