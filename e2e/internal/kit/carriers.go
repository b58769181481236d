package kit

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"portcullis.dev/e2e/internal/portcullis"
)

// Forwarded is how many requests each carrier has forwarded.
type Forwarded struct {
	HTTP1, Pingora uint64
}

// Forwarded adds up the metrics of the running pods.
func (s *S) Forwarded() (Forwarded, error) {
	var sum Forwarded
	pods, err := s.Kube.CoreV1().Pods(portcullis.Namespace).List(s.Context(), metav1.ListOptions{})
	if err != nil {
		return sum, err
	}
	for _, pod := range pods.Items {
		if pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil {
			continue
		}
		page, err := adminPage(s.Context(), pod.Status.PodIP, "/metrics")
		if err != nil {
			return sum, fmt.Errorf("metrics of pod %s: %w", pod.Name, err)
		}
		of, err := forwarded(page)
		if err != nil {
			return sum, fmt.Errorf("metrics of pod %s: %w", pod.Name, err)
		}
		sum.HTTP1, sum.Pingora = sum.HTTP1+of.HTTP1, sum.Pingora+of.Pingora
	}
	return sum, nil
}

// Since returns what was forwarded after an earlier look.
func (f Forwarded) Since(before Forwarded) Forwarded {
	return Forwarded{HTTP1: f.HTTP1 - before.HTTP1, Pingora: f.Pingora - before.Pingora}
}

func (f Forwarded) String() string {
	return fmt.Sprintf("%d requests forwarded by http1, %d by pingora", f.HTTP1, f.Pingora)
}

func forwarded(page []byte) (Forwarded, error) {
	var of Forwarded
	const metric = "portcullis_forwarded_requests_total"
	wanted := map[string]*uint64{metric + `{carrier="http1"}`: &of.HTTP1, metric + `{carrier="pingora"}`: &of.Pingora}
	lines := bufio.NewScanner(bytes.NewReader(page))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		count, isWanted := wanted[name]
		if !isWanted {
			continue
		}
		delete(wanted, name)
		var err error
		if *count, err = strconv.ParseUint(value, 10, 64); err != nil {
			return of, fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := lines.Err(); err != nil {
		return of, err
	}
	if len(wanted) > 0 {
		return of, fmt.Errorf("%s is missing", metric)
	}
	return of, nil
}
