package kit

import "testing"

func TestForwarded(t *testing.T) {
	page := "# TYPE portcullis_forwarded_requests counter\n" +
		"portcullis_forwarded_requests_total{carrier=\"http1\"} 21\n" +
		"portcullis_forwarded_requests_total{carrier=\"pingora\"} 2\n# EOF\n"
	if got, err := forwarded([]byte(page)); err != nil || got != (Forwarded{HTTP1: 21, Pingora: 2}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, page := range []string{"# EOF\n", "portcullis_forwarded_requests_total{carrier=\"http1\"} 21\n"} {
		if _, err := forwarded([]byte(page)); err == nil {
			t.Errorf("%q is no error", page)
		}
	}
}
