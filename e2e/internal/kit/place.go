package kit

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"portcullis.dev/e2e/internal/cluster"
	"portcullis.dev/e2e/internal/portcullis"
)

// PortcullisPods are the release's own.
func (s *S) PortcullisPods() []corev1.Pod {
	s.T.Helper()
	return s.Pods(portcullis.Namespace, "app.kubernetes.io/name=portcullis")
}

// PodNetns is the path of a pod's network namespace, for a Client to come from there.
func (s *S) PodNetns(pod corev1.Pod) string {
	s.T.Helper()
	node, err := s.Cluster.Node(pod.Spec.NodeName)
	s.Must(err)
	out, err := exec.CommandContext(s.ctx, "ctr", "--address", node.Socket(), "--namespace", "k8s.io", "task", "ls").Output()
	if err != nil {
		s.T.Fatalf("tasks of %s: %v: %s", node.Name, err, stderr(err))
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		for _, status := range pod.Status.ContainerStatuses {
			if len(fields) > 1 && fields[0] == strings.TrimPrefix(status.ContainerID, "containerd://") {
				// The number is one of the node's process namespace, whose /proc its first process has.
				return filepath.Join("/proc", strconv.Itoa(node.Init), "root", "proc", fields[1], "ns", "net")
			}
		}
	}
	s.T.Fatalf("pod %s/%s has no container on %s", pod.Namespace, pod.Name, node.Name)
	return ""
}

// EnterAt has the outside send what is for an address to a node, as a load balancer chooses one; until the scenario's
// end, or the next call.
func (s *S) EnterAt(address string, node cluster.Node) {
	s.T.Helper()
	s.inOutside("ip", "route", "replace", address+"/32", "via", node.IP)
	s.T.Cleanup(func() { _ = s.Cluster.InOutside(s.ctx, "ip", "route", "del", address+"/32").Run() })
}

// FurtherSource gives the outside one more address to come from, until the scenario's end.
func (s *S) FurtherSource(address string) {
	s.T.Helper()
	s.inOutside("ip", "addr", "replace", address+"/16", "dev", "br0")
	s.T.Cleanup(func() { _ = s.Cluster.InOutside(s.ctx, "ip", "addr", "del", address+"/16", "dev", "br0").Run() })
}

func (s *S) inOutside(command ...string) {
	s.T.Helper()
	if out, err := s.Cluster.InOutside(s.ctx, command...).CombinedOutput(); err != nil {
		s.T.Fatalf("%s: %v: %s", strings.Join(command, " "), err, out)
	}
}

// Drain has no new pods come to a node, and moves those that are there away, as `kubectl drain` does: by evictions,
// which wait for the leave of PodDisruptionBudgets. It returns those that were moved. The node is open again at the
// scenario's end, or by Uncordon.
func (s *S) Drain(node string) []corev1.Pod {
	s.T.Helper()
	s.cordon(node, true)
	s.T.Cleanup(func() { s.Uncordon(node) })
	var moved []corev1.Pod
	evicted := map[types.UID]bool{}
	s.Within(4*Patience, "the end of all pods on "+node, func() error {
		list, err := s.Kube.CoreV1().Pods("").List(s.ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
		if err != nil {
			return err
		}
		for _, pod := range list.Items {
			if pod.DeletionTimestamp != nil || evicted[pod.UID] {
				continue
			}
			err := s.Kube.CoreV1().Pods(pod.Namespace).EvictV1(s.ctx, &policyv1.Eviction{
				ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace},
			})
			switch {
			case apierrors.IsTooManyRequests(err) || apierrors.IsNotFound(err):
				continue // a budget has nothing left for now
			case err != nil:
				return fmt.Errorf("eviction of %s/%s: %w", pod.Namespace, pod.Name, err)
			}
			evicted[pod.UID] = true
			moved = append(moved, pod)
		}
		if len(list.Items) > 0 {
			return fmt.Errorf("there are %d, of which the first is %s/%s", len(list.Items), list.Items[0].Namespace, list.Items[0].Name)
		}
		return nil
	})
	return moved
}

// Uncordon lets pods come to a node again.
func (s *S) Uncordon(node string) {
	s.T.Helper()
	s.cordon(node, false)
}

func (s *S) cordon(node string, closed bool) {
	s.T.Helper()
	patch := fmt.Sprintf(`{"spec":{"unschedulable":%t}}`, closed)
	_, err := s.Kube.CoreV1().Nodes().Patch(s.ctx, node, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	s.Must(err)
}

// OnEachNode tells whether the pods are spread over all nodes.
func (s *S) OnEachNode(pods []corev1.Pod) error {
	on := map[string]int{}
	for _, pod := range pods {
		on[pod.Spec.NodeName]++
	}
	if len(on) < len(s.Cluster.Nodes) {
		return fmt.Errorf("pods by node: %v", on)
	}
	return nil
}

// Spread has Portcullis's pods on all nodes, whatever scenarios before this one have done to them.
func (s *S) Spread() {
	s.T.Helper()
	if s.OnEachNode(s.PortcullisPods()) != nil {
		s.Roll(portcullis.Namespace, portcullis.Release)
	}
	s.Must(s.OnEachNode(s.PortcullisPods()))
}

// Admin is a page of a pod's admin port, asked for from inside of the pod.
func (s *S) Admin(pod corev1.Pod, path string) *Answer {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, Patience)
	defer cancel()
	client := &Client{Address: "127.0.0.1", HTTPPort: portcullis.AdminPort, Netns: s.PodNetns(pod), Fresh: true}
	answer, err := client.Get(ctx, "http://admin"+path)
	s.Must(err)
	return answer
}

// stderr is what a command said before it failed.
func stderr(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(exit.Stderr)
	}
	return ""
}
