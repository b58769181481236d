package scenarios

import (
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"portcullis.dev/e2e/internal/cluster"
	"portcullis.dev/e2e/internal/kit"
)

const denyAll = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: deny }
spec: { podSelector: {}, policyTypes: [Ingress, Egress] }
`

const allowPortcullis = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: allow }
spec:
  podSelector: { matchLabels: { app: web } }
  ingress:
    - from:
        - namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: portcullis } }
          podSelector: { matchLabels: { app.kubernetes.io/name: portcullis } }
      ports: [{ port: http }]
`

// TestNetworkPolicyOfBackends has backends that nobody may reach, then Portcullis alone, then everybody.
func TestNetworkPolicyOfBackends(t *testing.T) {
	s := kit.New(t)
	elsewhere := s.NewNamespace("elsewhere")
	s.Apply(denyAll)
	s.EchoIn(elsewhere, "visitor", 1)
	s.Echo("web")
	s.AwaitDeployment(elsewhere, "visitor")
	s.Apply(gatewayAndRoute, "closed", "closed.example.com", "web")
	// Longer than Portcullis waits for a connection: it is to say itself that there is none.
	client := &kit.Client{Address: s.AwaitGateway(s.Namespace, "closed"), Patience: 30 * time.Second}
	const url = "http://closed.example.com/"
	visitor := s.Pods(elsewhere, "app=visitor")[0]
	direct := func() *kit.Client {
		web := s.Pods(s.Namespace, "app=web")[0]
		return &kit.Client{Address: web.Status.PodIP, HTTPPort: 3000, Netns: s.PodNetns(visitor), Fresh: true}
	}
	outward := func() *kit.Client {
		web := s.Pods(s.Namespace, "app=web")[0]
		return &kit.Client{Address: visitor.Status.PodIP, HTTPPort: 3000, Netns: s.PodNetns(web), Fresh: true}
	}

	unreachable(s, client, url)
	s.Refuse(direct(), "http://direct/")
	s.Refuse(outward(), "http://outward/")

	s.Apply(allowPortcullis)
	s.Expect(client, url, kit.Want{Service: "web"})
	s.Refuse(direct(), "http://direct/")
	s.Refuse(outward(), "http://outward/")

	// Connections that were let through may go on; new pods have none.
	s.Delete(allowPortcullis)
	s.Roll(s.Namespace, "web")
	unreachable(s, client, url)

	s.Delete(denyAll)
	s.Expect(client, url, kit.Want{Service: "web"})
	s.Expect(direct(), "http://direct/", kit.Want{Service: "web"})
	s.Expect(outward(), "http://outward/", kit.Want{Service: "visitor"})
	s.Figure("denied, allowed, denied, without policies")
}

// unreachable asks until Portcullis says that it has not reached the backend.
func unreachable(s *kit.S, client *kit.Client, url string) {
	s.T.Helper()
	s.Eventually("Portcullis's word that the backend is not reached", func() error {
		answer, err := client.Get(s.Context(), url)
		if err != nil {
			return err
		}
		switch answer.Status {
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return nil
		}
		return fmt.Errorf("status %d", answer.Status)
	})
}

// TestNetworkPolicyOfChart installs the chart's own: whoever may come in does, and Portcullis reaches what it needs.
func TestNetworkPolicyOfChart(t *testing.T) {
	s := kit.New(t)
	monitoring, other := s.NewNamespace("monitoring"), s.NewNamespace("other")
	for _, namespace := range []string{monitoring, other} {
		s.EchoIn(namespace, "visitor", 1)
	}
	s.Echo("web")
	fromMonitoring, fromOther := visitor(s, monitoring), visitor(s, other)

	// Outside of the cluster, where the policy lets nobody go unless it is told to.
	listener, err := net.Listen("tcp", net.JoinHostPort(cluster.OutsideIP, "0"))
	s.Must(err)
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	port := listener.Addr().(*net.TCPAddr).Port

	enabled := fmt.Sprintf(`networkPolicy={"enabled":true,"admin":[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":%q}}}]}`, monitoring)
	s.WithValues("--set-json", enabled)
	s.Spread()
	s.Roll("portcullis", "portcullis") // connections from before would be let through: it has to ask everything anew

	s.Apply(gatewayAndRoute, "web", "policy.example.com", "web")
	address := s.AwaitGateway(s.Namespace, "web")
	s.Expect(&kit.Client{Address: address}, "http://policy.example.com/", kit.Want{Service: "web"})
	for _, pod := range s.PortcullisPods() {
		for _, row := range []struct {
			from string
			who  kit.Client
		}{{"outside", kit.Client{}}, {"other", fromOther}, {"monitoring", fromMonitoring}} {
			who := row.who
			listeners := who.Another(func(c *kit.Client) { c.Address, c.HTTPPort = pod.Status.PodIP, 8080 })
			s.Expect(listeners, "http://policy.example.com/", kit.Want{Service: "web"})
			admin := who.Another(func(c *kit.Client) { c.Address, c.HTTPPort, c.Fresh = pod.Status.PodIP, 9080, true })
			if row.from == "monitoring" {
				s.Expect(admin, "http://admin/readyz", kit.Want{})
			} else {
				s.Refuse(admin, "http://admin/readyz")
			}
		}
	}

	// Names resolve, the pods behind them are reached, and what is elsewhere is not.
	s.ExternalName("inside.example.net", s.Pods(s.Namespace, "app=web")[0].Status.PodIP)
	s.ExternalName("elsewhere.example.net", cluster.OutsideIP)
	s.Apply(`
apiVersion: v1
kind: Service
metadata: { name: inside }
spec: { type: ExternalName, externalName: inside.example.net, ports: [{ port: 3000 }] }
---
apiVersion: v1
kind: Service
metadata: { name: elsewhere }
spec: { type: ExternalName, externalName: elsewhere.example.net, ports: [{ port: %[1]d }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: names }
spec:
  parentRefs: [{ name: web }]
  rules:
    - { matches: [{ path: { value: /inside } }], backendRefs: [{ name: inside, port: 3000 }] }
    - { matches: [{ path: { value: /elsewhere } }], backendRefs: [{ name: elsewhere, port: %[1]d }] }
`, port)
	client := &kit.Client{Address: address, Patience: 30 * time.Second}
	s.Within(2*kit.Patience, "the name that resolves to a pod", func() error {
		answer, err := client.Get(s.Context(), "http://policy.example.com/inside")
		if err != nil {
			return err
		}
		return (kit.Want{Service: "web"}).Check(answer)
	})
	unreachable(s, client, "http://policy.example.com/elsewhere")
	s.WithValues("--set-json", fmt.Sprintf(`networkPolicy.egress=[{"to":[{"ipBlock":{"cidr":"%s/32"}}]}]`, cluster.OutsideIP))
	s.Expect(client, "http://policy.example.com/elsewhere", kit.Want{Status: http.StatusTeapot})
	s.Figure("listeners open, admin port for one namespace, API server, DNS, egress")
}

// visitor is a client inside the one pod of a namespace.
func visitor(s *kit.S, namespace string) kit.Client {
	s.T.Helper()
	s.AwaitDeployment(namespace, "visitor")
	return kit.Client{Netns: s.PodNetns(s.Pods(namespace, "app=visitor")[0])}
}
