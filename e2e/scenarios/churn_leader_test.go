package scenarios

import (
	"errors"
	"fmt"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"portcullis.dev/e2e/internal/kit"
)

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
	before, carriedOut := statusWrites(s)
	s.Must(s.SignalPod(*pod, "SIGCONT"))
	time.Sleep(10 * time.Second) // five times as long as a leader waits between two looks at the Lease
	// As many as it writes at once may have been on their way when it was frozen; the version that each one names is
	// of before the edit, so that none of them is carried out.
	const atOnce = 8
	now, carriedOutNow := statusWrites(s)
	if now-before > atOnce || carriedOutNow != carriedOut {
		t.Errorf("after the old leader woke up: %d writes of statuses, %d of them carried out", now-before, carriedOutNow-carriedOut)
	}
	awaitBroken(s, routes)
	if holder := s.Leader("portcullis", "portcullis"); holder == leader {
		t.Errorf("%s leads again", holder)
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
