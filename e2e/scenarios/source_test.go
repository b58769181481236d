package scenarios

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"portcullis.dev/e2e/internal/cluster"
	"portcullis.dev/e2e/internal/kit"
)

// forged is what clients say of themselves.
const forged = "198.51.100.66"

// TestTrafficPolicyLocal has the client's own address arrive, and only nodes with a pod answer.
func TestTrafficPolicyLocal(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	s.WithValues("--set", "service.externalTrafficPolicy=Local")
	s.Spread()
	s.Apply(gatewayAndRoute, "local", "local.example.com", "web")
	address := s.AwaitGateway(s.Namespace, "local")
	service, err := s.Kube.CoreV1().Services("portcullis").Get(s.Context(), "portcullis", metav1.GetOptions{})
	s.Must(err)
	health := int(service.Spec.HealthCheckNodePort)
	nodePort := nodePortOf(service, 80)
	const url = "http://local.example.com/"
	answers := func(client *kit.Client) {
		t.Helper()
		client.Fresh = true
		answer := s.Expect(client, url, kit.Want{Service: "web"}, "X-Forwarded-For", forged)
		if got := answer.Echo.Received("X-Forwarded-For"); !slices.Equal(got, []string{cluster.OutsideIP}) {
			t.Errorf("X-Forwarded-For %v, want %s", got, cluster.OutsideIP)
		}
	}
	for _, node := range s.Cluster.Nodes {
		s.EnterAt(address, node)
		answers(&kit.Client{Address: address})
		answers(&kit.Client{Address: node.IP, HTTPPort: nodePort})
		s.Expect(&kit.Client{Address: node.IP, HTTPPort: health, Fresh: true}, "http://health/healthz", kit.Want{})
	}

	size := int32(len(s.PortcullisPods()))
	t.Cleanup(func() { s.Scale("portcullis", "portcullis", size) })
	s.Scale("portcullis", "portcullis", 1)
	has := s.PortcullisPods()[0].Spec.NodeName
	for _, node := range s.Cluster.Nodes {
		healthy := &kit.Client{Address: node.IP, HTTPPort: health, Fresh: true}
		s.EnterAt(address, node)
		if node.Name == has {
			s.Expect(healthy, "http://health/healthz", kit.Want{})
			answers(&kit.Client{Address: address})
			answers(&kit.Client{Address: node.IP, HTTPPort: nodePort})
			continue
		}
		s.Expect(healthy, "http://health/healthz", kit.Want{Status: http.StatusServiceUnavailable})
		s.Refuse(&kit.Client{Address: address, Fresh: true}, url)
		s.Refuse(&kit.Client{Address: node.IP, HTTPPort: nodePort, Fresh: true}, url)
	}
	s.Figure("2 nodes with a pod each, then 1 pod on %s", has)
}

func nodePortOf(service *corev1.Service, port int32) int {
	for _, each := range service.Spec.Ports {
		if each.Port == port {
			return int(each.NodePort)
		}
	}
	return 0
}

// TestProxyProtocol believes the outside's first address what it says of clients, and nobody else.
func TestProxyProtocol(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	const another = "172.18.0.9"
	s.FurtherSource(another)
	s.WithValues("--set", "service.externalTrafficPolicy=Local", "--set-json", fmt.Sprintf(`proxyProtocol=["%s/32"]`, cluster.OutsideIP))
	s.Spread()
	certificate := s.NewCertificate("proxied.example.com")
	s.Secret("proxied", certificate)
	s.Apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: proxied }
spec:
  gatewayClassName: portcullis
  listeners:
    - { name: http, port: 80, protocol: HTTP, hostname: proxied.example.com }
    - { name: https, port: 443, protocol: HTTPS, hostname: proxied.example.com, tls: { certificateRefs: [{ name: proxied }] } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: proxied }
spec:
  parentRefs: [{ name: proxied }]
  rules: [{ backendRefs: [{ name: web, port: 80 }] }]
`)
	address := s.AwaitGateway(s.Namespace, "proxied")
	client := func(source string, preface []byte) *kit.Client {
		return &kit.Client{Address: address, Source: source, Preface: preface, Roots: kit.Roots(certificate), Fresh: true}
	}
	const url = "http://proxied.example.com/"
	v1 := []byte("PROXY TCP4 203.0.113.7 192.0.2.1 40000 80\r\n")
	for _, row := range []struct {
		what    string
		source  string
		preface []byte
		want    string
	}{
		{"version 1", cluster.OutsideIP, v1, "203.0.113.7"},
		{"version 1, IPv6", cluster.OutsideIP, []byte("PROXY TCP6 2001:db8::7 2001:db8::1 40000 80\r\n"), "2001:db8::7"},
		{"version 1, unknown", cluster.OutsideIP, []byte("PROXY UNKNOWN\r\n"), cluster.OutsideIP},
		{"version 2", cluster.OutsideIP, version2("203.0.113.8", "192.0.2.1"), "203.0.113.8"},
		{"version 2, IPv6", cluster.OutsideIP, version2("2001:db8::8", "2001:db8::1"), "2001:db8::8"},
		{"no header, from elsewhere", another, nil, another},
	} {
		for _, scheme := range []string{"http", "https"} {
			answer := s.Expect(client(row.source, row.preface), scheme+"://proxied.example.com/", kit.Want{Service: "web"}, "X-Forwarded-For", forged)
			if got := answer.Echo.Received("X-Forwarded-For"); !slices.Equal(got, []string{row.want}) {
				t.Errorf("%s, %s: X-Forwarded-For %v, want %s", row.what, scheme, got, row.want)
			}
		}
	}
	// A header from elsewhere is no request, and its absence where one has to be is no connection.
	s.Expect(client(another, v1), url, kit.Want{Status: http.StatusBadRequest})
	s.Refuse(client(another, version2("203.0.113.8", "192.0.2.1")).Another(func(c *kit.Client) { c.Preface = append(c.Preface, "\r\n\r\n"...) }), "https://proxied.example.com/")
	s.Refuse(client(cluster.OutsideIP, nil), url)
	s.Refuse(client(cluster.OutsideIP, nil), "https://proxied.example.com/")
	s.Figure("versions 1 and 2, IPv4 and IPv6, with and without TLS; 4 that are not believed")
}

// version2 is a header of the binary kind (PROXY, over a stream).
func version2(source, destination string) []byte {
	from, to := netip.MustParseAddr(source), netip.MustParseAddr(destination)
	header := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11")
	if from.Is6() {
		header[13] = 0x21
	}
	addresses := append(from.AsSlice(), to.AsSlice()...)
	header = binary.BigEndian.AppendUint16(header, uint16(len(addresses)+4))
	header = append(header, addresses...)
	header = binary.BigEndian.AppendUint16(header, 40000)
	return binary.BigEndian.AppendUint16(header, 80)
}
