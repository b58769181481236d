package standalone

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// cases are those of gRPC's interoperability tests that concern a proxy
// (grpc/grpc, doc/interop-test-descriptions.md): all but those of compression, credentials and load balancing policies.
var cases = map[string]func(context.Context, *grpc.ClientConn){
	"empty_unary":                 onService(interop.DoEmptyUnaryCall),
	"large_unary":                 onService(interop.DoLargeUnaryCall),
	"client_streaming":            onService(interop.DoClientStreaming),
	"server_streaming":            onService(interop.DoServerStreaming),
	"ping_pong":                   onService(interop.DoPingPong),
	"empty_stream":                onService(interop.DoEmptyStream),
	"cancel_after_begin":          onService(interop.DoCancelAfterBegin),
	"cancel_after_first_response": onService(interop.DoCancelAfterFirstResponse),
	"timeout_on_sleeping_server":  onService(interop.DoTimeoutOnSleepingServer),
	"custom_metadata":             onService(interop.DoCustomMetadata),
	"status_code_and_message":     onService(interop.DoStatusCodeAndMessage),
	"special_status_message":      onService(interop.DoSpecialStatusMessage),
	"unimplemented_method":        interop.DoUnimplementedMethod,
	"unimplemented_service": func(ctx context.Context, connection *grpc.ClientConn) {
		interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(connection))
	},
}

func onService(do func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)) func(context.Context, *grpc.ClientConn) {
	return func(ctx context.Context, connection *grpc.ClientConn) {
		do(ctx, testgrpc.NewTestServiceClient(connection))
	}
}

// A case ends its process where it fails (grpclog's Fatalf). So each runs in one of its own: this test's binary with these
// variables.
const (
	caseVariable      = "INTEROP_CASE"
	addressVariable   = "INTEROP_ADDRESS"
	authorityVariable = "INTEROP_AUTHORITY"
	rootsVariable     = "INTEROP_ROOTS"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(caseVariable); name != "" {
		if err := runCase(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func runCase(name string) error {
	transport := insecure.NewCredentials()
	if path := os.Getenv(rootsVariable); path != "" {
		roots, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(roots)
		transport = credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: os.Getenv(authorityVariable)})
	}
	connection, err := grpc.NewClient(os.Getenv(addressVariable),
		grpc.WithTransportCredentials(transport), grpc.WithAuthority(os.Getenv(authorityVariable)))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cases[name](ctx, connection)
	return ctx.Err()
}

const interopManifests = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: interop, namespace: default }
spec:
  gatewayClassName: portcullis
  listeners:
  - { name: h2c, port: %d, protocol: HTTP }
  - { name: tls, port: %d, protocol: HTTPS, tls: { certificateRefs: [{ name: interop }] } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: { name: by-grpc-route, namespace: default }
spec:
  parentRefs: [{ name: interop }]
  hostnames: [grpc-route.test]
  rules: [{ backendRefs: [{ name: interop, port: 80 }] }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: by-http-route, namespace: default }
spec:
  parentRefs: [{ name: interop }]
  hostnames: [http-route.test]
  rules: [{ backendRefs: [{ name: interop, port: 80 }] }]
---
apiVersion: v1
kind: Service
metadata: { name: interop, namespace: default }
spec: { ports: [{ name: grpc, port: 80, appProtocol: kubernetes.io/h2c }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: interop-1, namespace: default, labels: { kubernetes.io/service-name: interop } }
addressType: IPv4
ports: [{ name: grpc, port: %d }]
endpoints: [{ addresses: [127.0.0.1] }]
`

// TestGRPCInterop plays gRPC's own client against gRPC's own server through Portcullis: clients over h2c and over TLS,
// and both kinds of route.
func TestGRPCInterop(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	shown := newCertificate(t, key, "grpc-route.test", "http-route.test")
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, shown.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	h2c, https := freePort(t), freePort(t)
	serve(t, documents(gatewayClass, shown.secret("interop"),
		fmt.Sprintf(interopManifests, h2c, https, interopServer(t))))

	names := make([]string, 0, len(cases))
	for name := range cases {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, route := range []string{"grpc-route.test", "http-route.test"} {
		for _, over := range []struct {
			transport, roots string
			port             int
		}{{"h2c", "", h2c}, {"tls", roots, https}} {
			for _, name := range names {
				t.Run(route+"/"+over.transport+"/"+name, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
					defer cancel()
					command := exec.CommandContext(ctx, os.Args[0])
					command.Env = append(os.Environ(), caseVariable+"="+name, authorityVariable+"="+route,
						rootsVariable+"="+over.roots, fmt.Sprintf("%s=127.0.0.1:%d", addressVariable, over.port))
					if output, err := command.CombinedOutput(); err != nil {
						t.Errorf("%v\n%s", err, output)
					}
				})
			}
		}
	}
}

// interopServer is gRPC's own server of these cases, without TLS. It returns its port.
func interopServer(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(server, interop.NewTestServer())
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().(*net.TCPAddr).Port
}
