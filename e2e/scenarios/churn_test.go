package scenarios

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
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

// TestLeaderEnded deletes the pod that writes statuses, as a rollout or a drained node does: it says that it is going,
// and nothing is lost.
func TestLeaderEnded(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	leader := s.Leader("portcullis", "portcullis")
	_, load := underLoad(s, "web", "")
	begin := time.Now()
	s.Must(s.Kube.CoreV1().Pods("portcullis").Delete(s.Context(), leader, metav1.DeleteOptions{}))
	took := awaitAnotherLeader(s, leader, begin)
	s.Apply(gatewayAndRoute, "after", "after.example.com", "web")
	s.AwaitGateway(s.Namespace, "after")
	s.AwaitGone(leader)
	s.AwaitDeployment("portcullis", "portcullis")
	load.StopClean("leader deleted")
	s.Figure("another leader after %.1f s", took.Seconds())
}

// TestLeaderKilled ends the pod that writes statuses with -9, for good. What had a connection to it loses that, and with
// it a request that was on its way: no proxy can help that. Nobody can connect to it either until kube-proxy has heard of
// it. Nothing else is lost: not by those who have connections to the other pod, and nothing at all from then on, while
// another pod is to become the leader and does its work.
func TestLeaderKilled(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	leader := s.Leader("portcullis", "portcullis")
	pod, err := s.Kube.CoreV1().Pods("portcullis").Get(s.Context(), leader, metav1.GetOptions{})
	s.Must(err)
	l, load := underLoad(s, "web", "")
	begin := time.Now()
	s.KillPod(*pod)
	killed := time.Now()
	// The kubelet would start it again under the same name, and it would find its own Lease.
	now := int64(0)
	s.Must(s.Kube.CoreV1().Pods("portcullis").Delete(s.Context(), leader, metav1.DeleteOptions{GracePeriodSeconds: &now}))
	awaitReachable(s, l)
	died := load.Stop()
	cut, refused := 0, 0
	for _, failure := range died.Failures {
		switch {
		case failure.Opened.IsZero():
			refused++
		case failure.Opened.Before(killed):
			cut++
		default:
			t.Errorf("a request failed whose connection was opened after the pod was dead:\n%s", failure)
		}
	}
	// A worker has one connection, with one request on it.
	if most := l.Workers + l.Fresh; cut > most || died.Failed > len(died.Failures) {
		t.Errorf("%d requests were cut, and there were %d connections; %d failed:\n%s", cut, most, died.Failed, kit.Lines(died.Failures))
	}

	load = s.Start(l)
	took := awaitAnotherLeader(s, leader, begin)
	s.Apply(gatewayAndRoute, "after", "after.example.com", "web")
	s.AwaitGateway(s.Namespace, "after")
	s.AwaitRoute(s.Namespace, "after")
	s.AwaitDeployment("portcullis", "portcullis")
	load.StopClean("from then on")
	s.Figure("killed: of %d requests %d were cut, %d found nobody; another leader after %.1f s", died.Requests, cut, refused, took.Seconds())
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

func awaitAnotherLeader(s *kit.S, leader string, begin time.Time) time.Duration {
	s.T.Helper()
	s.Eventually("another leader", func() error {
		if now := s.Leader("portcullis", "portcullis"); now == leader {
			return fmt.Errorf("it is still %s", now)
		}
		return nil
	})
	return time.Since(begin)
}

// TestLeaderFrozen stops the leader in the middle of its writing for long enough to be replaced, and lets it go on: of
// what it still meant to write, it writes nothing over what the next one has written.
func TestLeaderFrozen(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	// More than are written at once, and few enough for all of it to be over before the kubelet has the frozen one ended.
	const domain, routes = "frozen.example.com", 300
	s.Apply(crowdGateway, domain)
	s.AwaitGateway(s.Namespace, "crowd")
	leader := s.Leader("portcullis", "portcullis")
	pod, err := s.Kube.CoreV1().Pods("portcullis").Get(s.Context(), leader, metav1.GetOptions{})
	s.Must(err)
	restarts := pod.Status.ContainerStatuses[0].RestartCount
	t.Cleanup(func() { // whatever happens in between, it is not to stay so
		if t.Failed() {
			_ = s.SignalPod(*pod, "SIGCONT")
		}
	})
	s.Crowd(s.Namespace, "crowd", domain, 0, routes)
	s.Must(s.SignalPod(*pod, "SIGSTOP"))
	took := awaitAnotherLeader(s, leader, time.Now())
	// Another generation, with another status: what the frozen one has in its hands is wrong now.
	patch := `{"spec":{"rules":[{"backendRefs":[{"name":"nobody","port":80}]}]}}`
	for i := range routes {
		name := fmt.Sprintf("crowd-%d", i)
		_, err := s.Gateway.GatewayV1().HTTPRoutes(s.Namespace).Patch(s.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		s.Must(err)
	}
	awaitBroken(s, routes)
	before := statusWrites(s)
	s.Must(s.SignalPod(*pod, "SIGCONT"))
	time.Sleep(10 * time.Second) // five times as long as a leader waits between two looks at the Lease
	if made := statusWrites(s) - before; made > 1 {
		t.Errorf("%d writes of statuses after the old leader woke up; one may have been on its way", made)
	}
	awaitBroken(s, routes)
	if now := s.Leader("portcullis", "portcullis"); now == leader {
		t.Errorf("%s leads again", now)
	}
	s.AwaitDeployment("portcullis", "portcullis")
	pod, err = s.Kube.CoreV1().Pods("portcullis").Get(s.Context(), leader, metav1.GetOptions{})
	s.Must(err)
	if count := pod.Status.ContainerStatuses[0].RestartCount; count > restarts {
		t.Errorf("%s was started anew: nothing was proved", leader)
	}
	s.Figure("another leader after %.1f s, %d statuses stay its own", took.Seconds(), routes)
}

// awaitBroken waits until all routes say that their backend is not there.
func awaitBroken(s *kit.S, want int) {
	s.T.Helper()
	s.Within(2*kit.Patience, fmt.Sprintf("%d routes without their backend", want), func() error {
		list, err := s.Gateway.GatewayV1().HTTPRoutes(s.Namespace).List(s.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		got := 0
		for _, route := range list.Items {
			for _, parent := range route.Status.Parents {
				found := meta.FindStatusCondition(parent.Conditions, "ResolvedRefs")
				if found != nil && found.Reason == "BackendNotFound" && found.ObservedGeneration == route.Generation {
					got++
				}
			}
		}
		if got != want {
			return fmt.Errorf("there are %d", got)
		}
		return nil
	})
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

// awaitStableLeader waits until the same pod has renewed the Lease five times in a row.
func awaitStableLeader(s *kit.S) string {
	s.T.Helper()
	const renewals = 5
	var first, last *coordinationv1.Lease
	seen := 0
	s.Eventually("a leader that stays", func() error {
		lease, err := s.Kube.CoordinationV1().Leases("portcullis").Get(s.Context(), "portcullis", metav1.GetOptions{})
		if err != nil {
			return err
		}
		spec := lease.Spec
		if spec.HolderIdentity == nil || *spec.HolderIdentity == "" || spec.RenewTime == nil {
			return errors.New("nobody leads")
		}
		if first == nil || *first.Spec.HolderIdentity != *spec.HolderIdentity || !equal(first.Spec.LeaseTransitions, spec.LeaseTransitions) {
			first, last, seen = lease, lease, 0
		}
		if !last.Spec.RenewTime.Equal(spec.RenewTime) {
			last = lease
			seen++
		}
		if seen < renewals {
			return fmt.Errorf("%s has renewed it %d times", *spec.HolderIdentity, seen)
		}
		return nil
	})
	return *last.Spec.HolderIdentity
}

func equal(a, b *int32) bool { return a == b || a != nil && b != nil && *a == *b }
