package kit

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"portcullis.dev/e2e/internal/portcullis"
)

// Scale sets a Deployment's size, and waits until it has it.
func (s *S) Scale(namespace, name string, replicas int32) {
	s.T.Helper()
	scale := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
	scale.Spec.Replicas = replicas
	_, err := s.Kube.AppsV1().Deployments(namespace).UpdateScale(s.ctx, name, scale, metav1.UpdateOptions{})
	s.Must(err)
	s.AwaitDeployment(namespace, name)
	s.awaitPods(namespace, name, int(replicas))
}

// Roll replaces a Deployment's pods, as `kubectl rollout restart` does, and waits for the end of it.
func (s *S) Roll(namespace, name string) {
	s.T.Helper()
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"rolled":%q}}}}}`, time.Now().Format(time.RFC3339Nano))
	d, err := s.Kube.AppsV1().Deployments(namespace).Patch(s.ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	s.Must(err)
	s.AwaitDeployment(namespace, name)
	s.awaitPods(namespace, name, int(*d.Spec.Replicas))
}

// awaitPods waits until those that are ending are gone, too: their draining is part of what is looked at.
func (s *S) awaitPods(namespace, name string, want int) {
	s.T.Helper()
	d, err := s.Kube.AppsV1().Deployments(namespace).Get(s.ctx, name, metav1.GetOptions{})
	s.Must(err)
	selector := metav1.FormatLabelSelector(d.Spec.Selector)
	s.Within(2*Patience, fmt.Sprintf("%d pods of %s/%s", want, namespace, name), func() error {
		list, err := s.Kube.CoreV1().Pods(namespace).List(s.ctx, metav1.ListOptions{LabelSelector: selector})
		if err == nil && len(list.Items) != want {
			err = fmt.Errorf("there are %d", len(list.Items))
		}
		return err
	})
}

// KillPod ends a pod's containers with -9, behind the kubelet's back.
func (s *S) KillPod(pod corev1.Pod) {
	s.T.Helper()
	s.Must(s.SignalPod(pod, "SIGKILL"))
}

// SignalPod sends a signal to the first process of each of a pod's containers.
func (s *S) SignalPod(pod corev1.Pod, signal string) error {
	node, err := s.Cluster.Node(pod.Spec.NodeName)
	if err != nil {
		return err
	}
	for _, status := range pod.Status.ContainerStatuses {
		id := strings.TrimPrefix(status.ContainerID, "containerd://")
		out, err := exec.CommandContext(context.WithoutCancel(s.ctx), "ctr", "--address", node.Socket(), "--namespace", "k8s.io",
			"task", "kill", "--signal", signal, id).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s to %s/%s: %w: %s", signal, pod.Namespace, pod.Name, err, out)
		}
	}
	return nil
}

// AwaitGone waits until a pod of Portcullis is no more.
func (s *S) AwaitGone(pod string) {
	s.T.Helper()
	s.Within(2*Patience, "the end of pod "+pod, func() error {
		_, err := s.Kube.CoreV1().Pods(portcullis.Namespace).Get(s.ctx, pod, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			err = errors.New("it is still there")
		}
		return err
	})
}

// Leader is the pod that writes statuses.
func (s *S) Leader(namespace, lease string) string {
	s.T.Helper()
	var holder string
	s.Eventually("a holder of Lease "+namespace+"/"+lease, func() error {
		got, err := s.Kube.CoordinationV1().Leases(namespace).Get(s.ctx, lease, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got.Spec.HolderIdentity == nil || *got.Spec.HolderIdentity == "" {
			return fmt.Errorf("nobody holds it")
		}
		holder = *got.Spec.HolderIdentity
		return nil
	})
	return holder
}

// StopAndStart ends a process of the cluster with -9, and starts it again after a while.
func (s *S) StopAndStart(name string, after time.Duration) {
	s.T.Helper()
	s.stop(name)
	time.Sleep(after)
	s.Must(s.Cluster.Restart(name))
}

// NoControlPlane ends all of the control plane with -9, and starts it again after a while. The controller manager and the
// scheduler are among it: where they elect leaders, they end when they cannot reach the API server for ten seconds. One
// that stays takes all nodes for dead afterwards, as it has not read for so long that they live.
func (s *S) NoControlPlane(after time.Duration) {
	s.T.Helper()
	s.stop("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd")
	time.Sleep(after)
	s.Must(s.Cluster.Restart("etcd"))
	s.Must(s.Cluster.Restart("kube-apiserver"))
	s.Must(s.Cluster.AwaitAPI(s.ctx))
	s.Must(s.Cluster.Restart("kube-controller-manager"))
	s.Must(s.Cluster.Restart("kube-scheduler"))
}

// stop ends processes of the cluster, one after the other. They run again at the scenario's end, whatever happens until
// then: others need them.
func (s *S) stop(names ...string) {
	s.T.Helper()
	for _, name := range names {
		s.Must(s.Cluster.Stop(s.ctx, name, syscall.SIGKILL))
		s.T.Cleanup(func() {
			_ = s.Cluster.Restart(name)
		})
	}
}

// AwaitNodes waits until the condition Ready of every node is as wanted.
func (s *S) AwaitNodes(want corev1.ConditionStatus) {
	s.T.Helper()
	s.Within(2*Patience, "nodes with Ready "+string(want), func() error {
		nodes, err := s.Kube.CoreV1().Nodes().List(s.ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, node := range nodes.Items {
			for _, condition := range node.Status.Conditions {
				if condition.Type == corev1.NodeReady && condition.Status != want {
					return fmt.Errorf("%s: %s, %s", node.Name, condition.Status, condition.Message)
				}
			}
		}
		return nil
	})
}
