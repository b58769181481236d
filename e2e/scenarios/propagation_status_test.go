package scenarios

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"portcullis.dev/e2e/internal/kit"
)

// TestStatusWrites starts Portcullis cold in front of thousands of routes without a status: each is written once, and
// not at all by the pods that come after those.
func TestStatusWrites(t *testing.T) {
	s := kit.New(t)
	const domain = "writes.example.com"
	routes := max(1, slices.Max(s.Routes))
	crowd := s.NewNamespace("crowd")
	s.EchoIn(crowd, "web", 1)
	s.AwaitDeployment(crowd, "web")
	s.Apply(crowdGateway, domain)
	address := s.AwaitGateway(s.Namespace, "crowd")
	t.Cleanup(func() { s.Scale("portcullis", "portcullis", 2) }) // others need it, whatever happens in between
	s.Scale("portcullis", "portcullis", 0)
	s.Crowd(crowd, "crowd", domain, 0, routes)
	before, _ := statusWrites(s)

	s.Scale("portcullis", "portcullis", 2)
	s.AwaitRoutes(crowd, routes)
	url := fmt.Sprintf("http://crowd-%d.%s/", routes-1, domain)
	client := &kit.Client{Address: address}
	s.Expect(client, url, kit.Want{Service: "web"})
	now, _ := statusWrites(s)
	cold := now - before
	if cold > routes {
		t.Errorf("%d writes of statuses for %d routes", cold, routes)
	}

	s.Roll("portcullis", "portcullis")
	s.Expect(client.Another(nil), url, kit.Want{Service: "web"})
	awaitWriting(s)
	now, _ = statusWrites(s)
	warm := now - before - cold
	// The one that awaitWriting made.
	if warm != 1 {
		t.Errorf("%d writes of statuses by pods that found them all as they should be, and one that was missing", warm)
	}
	s.Disband(crowd)
	s.Figure("%d routes: %d writes by the first pods, %d by the next ones", routes, cold, warm-1)
}

// awaitWriting waits until there is a leader that has looked at all routes: it writes the status of a new one.
func awaitWriting(s *kit.S) {
	s.T.Helper()
	s.Apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: new }
spec:
  parentRefs: [{ name: crowd }]
  hostnames: [new.writes.example.com]
  rules: [{ filters: [{ type: RequestRedirect, requestRedirect: { hostname: elsewhere.example.com } }] }]
`)
	s.AwaitRoute(s.Namespace, "new")
}

// statusWrites are those of HTTPRoutes that the API server has answered since it was started, whatever the answer, and
// those among them that it has carried out.
func statusWrites(s *kit.S) (all, carriedOut int) {
	s.T.Helper()
	text, err := s.Kube.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(s.Context())
	s.Must(err)
	for line := range strings.Lines(string(text)) {
		labels, value, found := strings.Cut(strings.TrimSpace(line), "} ")
		if !found || !strings.HasPrefix(labels, "apiserver_request_total{") || !strings.Contains(labels, `resource="httproutes"`) ||
			!strings.Contains(labels, `subresource="status"`) {
			continue
		}
		if strings.Contains(labels, `verb="GET"`) {
			continue
		}
		number, err := strconv.ParseFloat(value, 64)
		s.Must(err)
		all += int(number)
		if strings.Contains(labels, `code="200"`) {
			carriedOut += int(number)
		}
	}
	return all, carriedOut
}
