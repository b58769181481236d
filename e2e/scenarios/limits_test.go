package scenarios

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"portcullis.dev/e2e/internal/kit"
)

// many has three listeners more than the limits of TestLimitsOfNamespaces allow, and an Ingress that is younger.
const many = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: many }
spec:
  gatewayClassName: portcullis
  listeners:
    - { name: plain, port: 80, protocol: HTTP, hostname: plain.limits.example.com }
    - { name: first, port: 8088, protocol: HTTP, hostname: first.limits.example.com }
    - { name: second, port: 8089, protocol: HTTP, hostname: second.limits.example.com }
    - { name: shown, port: 443, protocol: HTTPS, hostname: shown.limits.example.com, tls: { certificateRefs: [{ name: shown }] } }
    - { name: hidden, port: 443, protocol: HTTPS, hostname: hidden.limits.example.com, tls: { certificateRefs: [{ name: hidden }] } }
    - { name: last, port: 80, protocol: HTTP, hostname: last.limits.example.com }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: many }
spec:
  parentRefs: [{ name: many }]
  rules: [{ backendRefs: [{ name: many, port: 80 }] }]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: many }
spec:
  ingressClassName: portcullis
  tls: [{ hosts: [ingress.limits.example.com], secretName: hidden }]
  rules:
    - host: ingress.limits.example.com
      http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: many, port: { number: 80 } } } }] }
`

// TestLimitsOfNamespaces limits listeners, ports and certificates of each namespace, and lifts that; without a restart.
func TestLimitsOfNamespaces(t *testing.T) {
	s := kit.New(t)
	namespace := s.NewNamespace("many")
	shown, hidden := s.NewCertificate("shown.limits.example.com"), s.NewCertificate("hidden.limits.example.com", "ingress.limits.example.com")
	s.SecretIn(namespace, "shown", shown)
	s.SecretIn(namespace, "hidden", hidden)
	s.EchoIn(namespace, "many", 1)
	s.ApplyTo(namespace, many)
	s.Echo("web")
	s.AwaitDeployment(namespace, "many")
	_, load := underLoad(s, "web", "") // its namespace, with a listener and a certificate, is within every limit
	before := processes(s)

	// Each request on a connection of its own, as certificates and ports are those of connections.
	client := &kit.Client{Address: s.AwaitGateway(namespace, "many"), Roots: kit.Roots(shown, hidden), Fresh: true}
	first := client.Another(func(c *kit.Client) { c.HTTPPort = 8088 })
	second := client.Another(func(c *kit.Client) { c.HTTPPort = 8089 })
	web := kit.Want{Service: "many"}
	within := func() {
		t.Helper()
		s.ExpectOfEach(client, "http://plain.limits.example.com/", web)
		s.ExpectOfEach(first, "http://first.limits.example.com/", web)
		s.ExpectOfEach(client, "https://shown.limits.example.com/", web)
		for _, listener := range []string{"plain", "first", "shown"} {
			awaitListener(s, namespace, "many", listener, "Programmed", metav1.ConditionTrue, "Programmed")
		}
	}
	free := func() {
		t.Helper()
		within()
		s.Expect(second, "http://second.limits.example.com/", web) // by the port of the Service
		s.ExpectOfEach(second, "http://second.limits.example.com/", web)
		s.ExpectOfEach(client, "https://hidden.limits.example.com/", web)
		s.ExpectOfEach(client, "http://last.limits.example.com/", web)
		s.ExpectOfEach(client, "http://ingress.limits.example.com/", kit.Want{Status: 308, Location: "https://ingress.limits.example.com"})
		s.ExpectOfEach(client, "https://ingress.limits.example.com/", web)
		for _, listener := range []string{"second", "hidden", "last"} {
			awaitListener(s, namespace, "many", listener, "Programmed", metav1.ConditionTrue, "Programmed")
		}
		awaitListener(s, namespace, "many", "hidden", "ResolvedRefs", metav1.ConditionTrue, "ResolvedRefs")
	}
	free()

	s.WithValues("--set-json", `sharedEntrance.perNamespace={"listeners":4,"ports":1,"certificates":1}`)
	within()
	s.Refuse(second, "http://second.limits.example.com/")
	s.Refuse(client, "https://hidden.limits.example.com/")
	s.ExpectOfEach(client, "http://last.limits.example.com/", kit.Want{Status: 404})
	s.Refuse(client, "https://ingress.limits.example.com/") // it has the default certificate, which the client does not trust
	for _, listener := range []string{"second", "last"} {
		awaitListener(s, namespace, "many", listener, "Accepted", metav1.ConditionFalse, "PortUnavailable")
	}
	awaitListener(s, namespace, "many", "hidden", "ResolvedRefs", metav1.ConditionFalse, "RefNotPermitted")
	awaitCondition(s, namespace, "many", "Accepted", metav1.ConditionTrue, "ListenersNotValid")
	awaitEvent(s, namespace, "Ingress", "many", "limit max-certificates-per-namespace")

	s.WithoutValues()
	free()
	if now := processes(s); !slices.Equal(now, before) {
		t.Errorf("containers were restarted: %v before, %v now", before, now)
	}
	load.StopClean("listeners, ports and certificates limited, and free again")
}
