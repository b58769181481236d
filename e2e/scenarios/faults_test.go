package scenarios

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"portcullis.dev/e2e/internal/kit"
)

// TestSenselessObjects has objects that the API server accepts and that cannot be served. Each says so, and others are
// served all the time.
func TestSenselessObjects(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	elsewhere := s.NewNamespace("elsewhere")
	s.EchoIn(elsewhere, "closed", 1)
	l, load := underLoad(s, "web", "")
	plain := &kit.Client{Address: l.Client.Address}

	s.Apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: regex }
spec:
  parentRefs: [{ name: load }]
  rules:
    - matches: [{ path: { type: RegularExpression, value: "/regex/(" } }]
      backendRefs: [{ name: web, port: 80 }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: half }
spec:
  parentRefs: [{ name: load }]
  rules:
    - matches: [{ path: { value: /half } }, { path: { value: /half-by-header }, headers: [{ type: RegularExpression, name: x-half, value: "[" }] }]
      backendRefs: [{ name: web, port: 80 }]
    - matches: [{ path: { value: /other-half } }]
      backendRefs: [{ name: web, port: 80 }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: ungranted }
spec:
  parentRefs: [{ name: load }]
  rules:
    - matches: [{ path: { value: /ungranted } }]
      backendRefs: [{ name: closed, namespace: %[1]s, port: 80 }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: resource }
spec:
  parentRefs: [{ name: load }]
  rules:
    - matches: [{ path: { value: /resource } }]
      backendRefs: [{ group: example.com, kind: Bucket, name: b }]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: resource }
spec:
  ingressClassName: portcullis
  rules:
    - host: resource.example.com
      http:
        paths:
          - { path: /bucket, pathType: Prefix, backend: { resource: { apiGroup: example.com, kind: Bucket, name: b } } }
          - { path: /web, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }
`, elsewhere)
	awaitParent(s, s.Namespace, "regex", "Accepted", metav1.ConditionFalse, "UnsupportedValue")
	awaitParent(s, s.Namespace, "half", "Accepted", metav1.ConditionTrue, "Accepted")
	awaitParent(s, s.Namespace, "half", "PartiallyInvalid", metav1.ConditionTrue, "UnsupportedValue")
	awaitParent(s, s.Namespace, "ungranted", "ResolvedRefs", metav1.ConditionFalse, "RefNotPermitted")
	awaitParent(s, s.Namespace, "resource", "ResolvedRefs", metav1.ConditionFalse, "InvalidKind")
	s.AwaitIngress("resource")
	awaitEvent(s, s.Namespace, "Ingress", "resource", "example.com/Bucket")

	for path, want := range map[string]kit.Want{
		"other-half": {Service: "web"}, "half": {Status: 500}, "ungranted": {Status: 500}, "resource": {Status: 500},
		"regex/": {Service: "web"}, // nothing is left of that route, so the one for everything answers
	} {
		s.Expect(l.Client, l.URL+path, want)
	}
	s.Expect(plain, "http://resource.example.com/web", kit.Want{Service: "web"})
	s.Expect(plain, "http://resource.example.com/bucket", kit.Want{Status: 503})
	load.StopClean("4 routes and an Ingress")
}

// awaitEvent waits for a warning about an object that names something.
func awaitEvent(s *kit.S, namespace, kind, name, naming string) {
	s.T.Helper()
	s.Eventually("a warning about "+kind+" "+namespace+"/"+name, func() error {
		events, err := s.Kube.EventsV1().Events(namespace).List(s.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		var seen []string
		for _, event := range events.Items {
			if event.Regarding.Kind != kind || event.Regarding.Name != name {
				continue
			}
			if event.Type == "Warning" && strings.Contains(event.Note, naming) {
				return nil
			}
			seen = append(seen, event.Type+" "+event.Note)
		}
		return fmt.Errorf("none names %q among %q", naming, seen)
	})
}

// TestSenselessListeners has listeners that cannot be served, beside others of the same Gateway that can.
func TestSenselessListeners(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	certificate := s.NewCertificate("good.example.com")
	s.Secret("good", certificate)
	s.Secret("padded", kit.Certificate{PEM: padded(certificate.PEM, 500_000), Key: certificate.Key})
	s.Secret("not-a-certificate", kit.Certificate{PEM: []byte("hello"), Key: certificate.Key})
	noise := make([]byte, 330_000)
	_, err := rand.Read(noise)
	s.Must(err)
	large := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: noise})
	s.Secret("large", kit.Certificate{PEM: large, Key: large})
	s.Apply(`
apiVersion: v1
kind: Secret
metadata: { name: opaque }
data: { anything: %s }
`, base64.StdEncoding.EncodeToString(noise))
	names := []string{"good", "padded", "not-a-certificate", "large", "opaque", "absent"}
	var listeners strings.Builder
	for _, name := range names {
		fmt.Fprintf(&listeners, "    - { name: %[1]s, port: 443, protocol: HTTPS, hostname: %[1]s.example.com, tls: { certificateRefs: [{ name: %[1]s }] } }\n", name)
	}
	s.Apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: mixed }
spec:
  gatewayClassName: portcullis
  listeners:
    - { name: strange, port: 9000, protocol: example.com/strange }
` + listeners.String() + `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: mixed }
spec:
  parentRefs: [{ name: mixed }]
  rules: [{ backendRefs: [{ name: web, port: 80 }] }]
`)
	for _, row := range []struct {
		listener, condition string
		want                metav1.ConditionStatus
		reason              string
	}{
		{"strange", "Accepted", metav1.ConditionFalse, "UnsupportedProtocol"},
		{"good", "Programmed", metav1.ConditionTrue, "Programmed"},
		{"padded", "Programmed", metav1.ConditionTrue, "Programmed"},
		{"not-a-certificate", "ResolvedRefs", metav1.ConditionFalse, "InvalidCertificateRef"},
		{"large", "ResolvedRefs", metav1.ConditionFalse, "InvalidCertificateRef"},
		{"opaque", "ResolvedRefs", metav1.ConditionFalse, "InvalidCertificateRef"},
		{"absent", "ResolvedRefs", metav1.ConditionFalse, "InvalidCertificateRef"},
	} {
		awaitListener(s, s.Namespace, "mixed", row.listener, row.condition, row.want, row.reason)
	}
	client := &kit.Client{Address: s.SharedAddress(), Roots: kit.Roots(certificate)}
	s.Expect(client, "https://good.example.com/", kit.Want{Service: "web"})
	s.Figure("%d listeners, of which 2 are served", len(names)+1)
}

// padded puts words before a certificate, as some tools do.
func padded(certificate []byte, size int) []byte {
	const line = "what follows is a certificate\n"
	return append(bytes.Repeat([]byte(line), size/len(line)), certificate...)
}

// TestManyListeners has as many as a Gateway may, on one port and on several.
func TestManyListeners(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	const most, ports = 64, 4
	var listeners strings.Builder
	for i := range most {
		fmt.Fprintf(&listeners, "    - { name: l%[1]d, port: %[2]d, protocol: HTTP, hostname: l%[1]d.example.com }\n", i, listenerPort(i, ports))
	}
	s.Apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: many }
spec:
  gatewayClassName: portcullis
  listeners:
` + listeners.String() + `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: many }
spec:
  parentRefs: [{ name: many }]
  rules: [{ backendRefs: [{ name: web, port: 80 }] }]
`)
	client := &kit.Client{Address: s.AwaitGateway(s.Namespace, "many")}
	s.AwaitRoute(s.Namespace, "many")
	for i := range most {
		s.Expect(client, fmt.Sprintf("http://l%d.example.com:%d/", i, listenerPort(i, ports)), kit.Want{Service: "web"})
	}
	s.Eventually("a status of every listener", func() error {
		got, err := s.Gateway.GatewayV1().Gateways(s.Namespace).Get(s.Context(), "many", metav1.GetOptions{})
		if err != nil {
			return err
		}
		served := 0
		for _, listener := range got.Status.Listeners {
			if listener.AttachedRoutes == 1 && meta.IsStatusConditionTrue(listener.Conditions, "Programmed") {
				served++
			}
		}
		if served != most {
			return fmt.Errorf("%d of %d listeners are programmed with their route", served, most)
		}
		return nil
	})
	s.Figure("%d listeners on %d ports", most, ports)
}

// listenerPort spreads listeners over 80 and some that the Service does not have yet.
func listenerPort(index, ports int) int {
	if index%ports == 0 {
		return 80
	}
	return 8100 + index%ports
}
