package scenarios

import (
	"testing"

	"portcullis.dev/e2e/internal/kit"
)

// TestNodesDrained takes one node after the other out of service, as an upgrade of them does, and loses no request.
func TestNodesDrained(t *testing.T) {
	s := kit.New(t)
	s.EchoIn(s.Namespace, "web", 3)
	s.Apply(`
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: { name: web }
spec: { maxUnavailable: 1, selector: { matchLabels: { app: web } } }
`)
	s.AwaitDeployment(s.Namespace, "web")
	s.Spread()
	_, load := underLoad(s, "web", "")
	total := 0
	for _, node := range []string{"node2", "node1"} {
		moved := map[string]int{}
		for _, pod := range s.Drain(node) {
			moved[pod.Namespace]++
			total++
		}
		for _, namespace := range []string{s.Namespace, "portcullis"} {
			if moved[namespace] == 0 {
				t.Errorf("no pod of namespace %s was on %s; moved: %v", namespace, node, moved)
			}
		}
		s.AwaitDeployment(s.Namespace, "web")
		s.AwaitRelease()
		s.Uncordon(node)
	}
	s.Spread()
	load.StopClean("both nodes drained")
	s.Figure("%d pods moved", total)
}
