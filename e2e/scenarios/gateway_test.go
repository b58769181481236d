package scenarios

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	echo "sigs.k8s.io/gateway-api-conformance-images/echo-basic/grpcechoserver"

	"portcullis.dev/e2e/internal/kit"
)

// TestGatewayAcrossNamespaces has the Gateway, its certificate, the route and the backend in four namespaces: each step
// needs somebody's leave, and works as soon as that is given.
func TestGatewayAcrossNamespaces(t *testing.T) {
	s := kit.New(t)
	certificates, routes, backends := s.NewNamespace("certs"), s.NewNamespace("routes", "shared-gateway", "yes"), s.NewNamespace("backends")
	certificate := s.NewCertificate("across.example.com")
	s.SecretIn(certificates, "across", certificate)
	s.EchoIn(backends, "shop", 1)
	s.ApplyTo("", `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: public, namespace: %[1]s }
spec:
  gatewayClassName: portcullis
  listeners:
    - name: https
      port: 443
      protocol: HTTPS
      hostname: across.example.com
      tls: { certificateRefs: [{ name: across, namespace: %[2]s }] }
      allowedRoutes: { namespaces: { from: Selector, selector: { matchLabels: { shared-gateway: "yes" } } } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: { name: gateway, namespace: %[2]s }
spec:
  from: [{ group: gateway.networking.k8s.io, kind: Gateway, namespace: %[1]s }]
  to: [{ group: "", kind: Secret, name: across }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: shop, namespace: %[3]s }
spec:
  parentRefs: [{ name: public, namespace: %[1]s }]
  rules:
    - backendRefs: [{ name: shop, namespace: %[4]s, port: 80 }]
`, s.Namespace, certificates, routes, backends)
	s.AwaitDeployment(backends, "shop")
	address := s.AwaitGateway(s.Namespace, "public")
	client := &kit.Client{Address: address, Roots: kit.Roots(certificate)}
	const url = "https://across.example.com/x"
	s.Expect(client, url, kit.Want{Status: 500})

	grant := fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: { name: shop, namespace: %s }
spec:
  from: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: %s }]
  to: [{ group: "", kind: Service }]
`, backends, routes)
	s.ApplyTo("", grant)
	s.Expect(client, url, kit.Want{Service: "shop", Path: "/x"})
	s.AwaitRoute(routes, "shop")

	// Taken back, all of it: the grant, then the leave to attach.
	s.Delete(grant)
	s.Expect(client, url, kit.Want{Status: 500})
	s.ApplyTo("", grant)
	s.Expect(client, url, kit.Want{Service: "shop"})
	s.ApplyTo("", "apiVersion: v1\nkind: Namespace\nmetadata: { name: %s, labels: { shared-gateway: \"no\" } }", routes)
	s.Expect(client, url, kit.Want{Status: 404})
	s.Figure("4 namespaces, 2 grants")
}

// TestGRPCRoute calls through a Gateway of plain HTTP/2.
func TestGRPCRoute(t *testing.T) {
	s := kit.New(t)
	s.EchoIn(s.Namespace, "grpc", 1, "GRPC_ECHO_SERVER=1")
	s.Apply(grpcGateway, "grpc.example.com")
	s.AwaitDeployment(s.Namespace, "grpc")
	address := s.AwaitGateway(s.Namespace, "grpc")
	client := grpcClient(s, address, "grpc.example.com")
	s.Eventually("Echo", func() error { return callEcho(s, client) })
	_, err := client.EchoTwo(s.Context(), &echo.EchoRequest{})
	if got := status.Code(err); got != codes.Unimplemented && got != codes.NotFound {
		t.Errorf("a method without a route: %v", err)
	}
	s.Figure("1 method routed, 1 not")
}

// grpcGateway takes a hostname; both objects and the Service are called grpc.
const grpcGateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: grpc }
spec:
  gatewayClassName: portcullis
  listeners: [{ name: http, port: 80, protocol: HTTP, hostname: %[1]s }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: { name: grpc }
spec:
  parentRefs: [{ name: grpc }]
  hostnames: [%[1]s]
  rules:
    - matches: [{ method: { service: gateway_api_conformance.echo_basic.grpcecho.GrpcEcho, method: Echo } }]
      backendRefs: [{ name: grpc, port: 80 }]
`

// grpcClient calls through an address in the name of a host.
func grpcClient(s *kit.S, address, host string) echo.GrpcEchoClient {
	s.T.Helper()
	connection, err := grpc.NewClient("passthrough:///"+net.JoinHostPort(address, "80"),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(host))
	s.Must(err)
	s.T.Cleanup(func() { connection.Close() })
	return echo.NewGrpcEchoClient(connection)
}

func callEcho(s *kit.S, client echo.GrpcEchoClient) error {
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(s.Context(), "x-from", "outside"), 5*time.Second)
	defer cancel()
	answer, err := client.Echo(ctx, &echo.EchoRequest{})
	if err != nil {
		return err
	}
	if got := answer.GetAssertions().GetContext().GetPod(); got == "" {
		return fmt.Errorf("no pod in the answer %v", answer)
	}
	return nil
}

// TestWebSocket keeps a connection open while the route that it came by is changed.
func TestWebSocket(t *testing.T) {
	s := kit.New(t)
	s.Echo("chat")
	s.Apply(gatewayAndRoute, "chat", "chat.example.com", "chat")
	address := s.AwaitGateway(s.Namespace, "chat")
	s.Expect(&kit.Client{Address: address}, "http://chat.example.com/", kit.Want{Service: "chat"})
	dialer := websocket.Dialer{
		NetDialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(address, "80"))
		},
		HandshakeTimeout: 10 * time.Second,
	}
	connection, _, err := dialer.DialContext(s.Context(), "ws://chat.example.com/ws", map[string][]string{"Origin": {"http://chat.example.com"}})
	s.Must(err)
	defer connection.Close()
	say := func(message []byte) {
		t.Helper()
		s.Must(connection.SetReadDeadline(time.Now().Add(10 * time.Second)))
		s.Must(connection.WriteMessage(websocket.TextMessage, message))
		var got []byte
		for len(got) < len(message) { // the server may answer in pieces
			_, piece, err := connection.ReadMessage()
			s.Must(err)
			got = append(got, piece...)
		}
		if !bytes.Equal(got, message) {
			t.Errorf("said %d bytes and heard %d others", len(message), len(got))
		}
	}
	say([]byte("hello"))
	say(bytes.Repeat([]byte("portcullis "), 10_000))
	s.Must(s.Gateway.GatewayV1().HTTPRoutes(s.Namespace).Delete(s.Context(), "chat", metav1.DeleteOptions{}))
	s.Expect(&kit.Client{Address: address}, "http://chat.example.com/", kit.Want{Status: 404})
	say([]byte("still here"))
	s.Figure("3 messages, one after the route was gone")
}

// gatewayAndRoute takes a name for both, a hostname, and a Service.
const gatewayAndRoute = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: %[1]s }
spec:
  gatewayClassName: portcullis
  listeners: [{ name: http, port: 80, protocol: HTTP, hostname: %[2]s }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: %[1]s }
spec:
  parentRefs: [{ name: %[1]s }]
  rules: [{ backendRefs: [{ name: %[3]s, port: 80 }] }]
`

// TestKubectlGet reads the columns that people look at first.
func TestKubectlGet(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	address := s.SharedAddress()
	s.Apply(gatewayAndRoute, "shown", "shown.example.com", "web")
	s.Apply(`
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: shown }
spec:
  ingressClassName: portcullis
  rules:
    - host: ingress.shown.example.com
      http:
        paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }]
`)
	s.AwaitGateway(s.Namespace, "shown")
	s.AwaitIngress("shown")
	for _, row := range []struct {
		kind string
		want []string // without NAME and AGE
	}{
		{"gatewayclass/portcullis", []string{"portcullis.dev/gateway-controller", "True"}},
		{"gatewayclass/portcullis-dedicated", []string{"portcullis.dev/gateway-controller", "True"}},
		{"gateway/shown", []string{"portcullis", address, "True"}},
		{"httproute/shown", nil}, // it has no hostnames of its own
		{"ingress/shown", []string{"portcullis", "ingress.shown.example.com", address, "80"}},
	} {
		out, err := s.Cluster.InOutside(s.Context(), s.Cluster.Binaries["kubectl"], "--kubeconfig", s.Cluster.Kubeconfig(),
			"--namespace", s.Namespace, "get", row.kind, "--no-headers").CombinedOutput()
		fields := strings.Fields(string(out))
		if err != nil || len(fields) != len(row.want)+2 || !slices.Equal(fields[1:len(fields)-1], row.want) {
			t.Errorf("kubectl get %s: %v, want %v: %v", row.kind, fields, row.want, err)
		}
	}
	s.Figure("classes, addresses, PROGRAMMED")
}
