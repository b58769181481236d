package kit

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"portcullis.dev/e2e/internal/portcullis"
)

// dumped are the kinds whose objects are kept when a scenario fails.
var dumped = []schema.GroupVersionResource{
	{Version: "v1", Resource: "events"},
	{Version: "v1", Resource: "pods"},
	{Version: "v1", Resource: "services"},
	{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"},
	{Group: "apps", Version: "v1", Resource: "deployments"},
	{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"},
	{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
	{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"},
	{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"},
	{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "grpcroutes"},
	{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "tlsroutes"},
	{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "tcproutes"},
	{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "udproutes"},
}

// dump keeps what explains a failure in the artefact folder.
func (s *S) dump() {
	dir := filepath.Join(s.Artefacts, strings.ReplaceAll(s.T.Name(), "/", "-"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.T.Log(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	keep := func(name string, data []byte, err error) {
		if err != nil {
			data = append(data, []byte("\n# "+err.Error()+"\n")...)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			s.T.Log(err)
		}
	}
	for _, namespace := range append([]string{portcullis.Namespace}, s.namespaces...) {
		for _, kind := range dumped {
			list, err := s.Dynamic.Resource(kind).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: 200})
			if err == nil && len(list.Items) == 0 {
				continue
			}
			var data []byte
			if err == nil {
				data, err = yaml.Marshal(list)
			}
			keep(namespace+"."+kind.Resource+".yaml", data, err)
		}
		s.dumpLogs(ctx, namespace, keep)
	}
	s.T.Logf("statuses, events and logs: %s", dir)
}

func (s *S) dumpLogs(ctx context.Context, namespace string, keep func(string, []byte, error)) {
	pods, err := s.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{Limit: 50})
	if err != nil {
		keep(namespace+".pods.txt", nil, err)
		return
	}
	lines := int64(2000)
	for _, pod := range pods.Items {
		for _, previous := range []bool{false, true} {
			if previous && restarts(pod) == 0 {
				continue
			}
			options := &corev1.PodLogOptions{TailLines: &lines, Previous: previous}
			data, err := s.Kube.CoreV1().Pods(namespace).GetLogs(pod.Name, options).DoRaw(ctx)
			keep(fmt.Sprintf("%s.%s.previous-%t.log", namespace, pod.Name, previous), data, err)
		}
		if namespace == portcullis.Namespace && pod.Status.PodIP != "" {
			data, err := adminPage(ctx, pod.Status.PodIP, "/status")
			keep(fmt.Sprintf("%s.%s.status.json", namespace, pod.Name), data, err)
		}
	}
}

func restarts(pod corev1.Pod) (count int32) {
	for _, status := range pod.Status.ContainerStatuses {
		count += status.RestartCount
	}
	return count
}

func adminPage(ctx context.Context, pod, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+pod+":9080"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(io.LimitReader(response.Body, 64<<20))
}
