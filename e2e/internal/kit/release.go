package kit

import (
	"encoding/json"
	"fmt"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"portcullis.dev/e2e/internal/portcullis"
)

// WithValues upgrades the release with further arguments (such as --set), and rolls it back at the scenario's end.
func (s *S) WithValues(arguments ...string) {
	s.T.Helper()
	if s.found == 0 {
		s.found = s.revision()
		s.T.Cleanup(s.WithoutValues)
	}
	upgrade := []string{"upgrade", portcullis.Release, portcullis.Chart(s.Repository), "--reuse-values", "--wait", "--timeout", "2m"}
	s.helm(append(upgrade, arguments...)...)
	// helm does not wait for every pod, nor for old ones to end, which would still answer by the old values.
	s.AwaitRelease()
}

// WithoutValues rolls the release back to what the scenario found.
func (s *S) WithoutValues() {
	s.T.Helper()
	if s.found != 0 && s.revision() != s.found {
		s.helm("rollback", portcullis.Release, strconv.Itoa(s.found), "--wait", "--timeout", "2m")
		s.AwaitRelease()
	}
	s.found = 0
}

// AwaitRelease waits until Portcullis's pods are those that its Deployment asks for, and no others.
func (s *S) AwaitRelease() {
	s.T.Helper()
	s.AwaitDeployment(portcullis.Namespace, portcullis.Release)
	d, err := s.Kube.AppsV1().Deployments(portcullis.Namespace).Get(s.ctx, portcullis.Release, metav1.GetOptions{})
	s.Must(err)
	s.awaitPods(portcullis.Namespace, portcullis.Release, int(*d.Spec.Replicas))
}

func (s *S) revision() int {
	s.T.Helper()
	var revisions []struct {
		Revision int `json:"revision"`
	}
	s.Must(json.Unmarshal(s.helm("history", portcullis.Release, "--max", "1", "--output", "json"), &revisions))
	if len(revisions) != 1 {
		s.T.Fatalf("helm history --max 1 has %d revisions", len(revisions))
	}
	return revisions[0].Revision
}

func (s *S) helm(arguments ...string) []byte {
	s.T.Helper()
	cmd := portcullis.Helm(s.ctx, s.Cluster, arguments...)
	out, err := cmd.Output()
	if err != nil {
		s.T.Fatal(fmt.Errorf("helm %v: %w: %s", arguments, err, stderr(err)))
	}
	return out
}
