// Package standalone tests the binary as `portcullis run --manifests` with the field's own clients, over loopback. No
// cluster is needed: `cargo build --locked`, then `go -C e2e test ./standalone/...`. PORTCULLIS_BINARY names another
// binary than that of the debug build.
package standalone

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long one step may take on a busy machine before the test fails. Nothing is measured by it.
const patience = time.Minute

// program is the path of the program under test.
func program(t *testing.T) string {
	t.Helper()
	path := os.Getenv("PORTCULLIS_BINARY")
	if path == "" {
		target := os.Getenv("CARGO_TARGET_DIR")
		if target == "" {
			target = filepath.Join("..", "..", "target")
		}
		path = filepath.Join(target, "debug", "portcullis")
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the binary under test is missing (%v): run `cargo build --locked` first, or set PORTCULLIS_BINARY", err)
	}
	return path
}

// serve runs Portcullis with the manifests until the test ends, and returns once it is ready.
func serve(t *testing.T, manifests string) {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "manifests.yaml"), []byte(manifests), 0o600); err != nil {
		t.Fatal(err)
	}
	admin := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	var output syncBuffer
	command := exec.Command(program(t), "run", "--manifests", folder, "--admin", admin)
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(patience):
			_ = command.Process.Kill()
			t.Error("Portcullis did not end on SIGTERM")
		}
		if t.Failed() {
			t.Logf("output of Portcullis:\n%s", output.String())
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("Portcullis ended: %v", err)
		case <-ctx.Done():
			t.Fatal("Portcullis did not become ready")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// freePort is a TCP port of loopback that nothing has at the moment.
func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// syncBuffer may be written by the program while the test reads it.
type syncBuffer struct {
	mutex sync.Mutex
	bytes bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.bytes.Write(p)
}

func (b *syncBuffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.bytes.String()
}

// certificate is a self-signed one, which is its own root.
type certificate struct {
	pem, key []byte
}

// newCertificate makes a certificate of this key for the names.
func newCertificate(t *testing.T, key crypto.Signer, names ...string) certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return certificate{
		pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// secret is the manifest of a Secret of type kubernetes.io/tls.
func (c certificate) secret(name string) string {
	encoded := base64.StdEncoding.EncodeToString
	return fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: { name: %s, namespace: default }
type: kubernetes.io/tls
data: { tls.crt: %s, tls.key: %s }
`, name, encoded(c.pem), encoded(c.key))
}

// roots is a pool with this certificate alone.
func (c certificate) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.pem)
	return pool
}

// documents joins manifests into one file.
func documents(manifests ...string) string {
	return strings.Join(manifests, "\n---\n")
}

const gatewayClass = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: portcullis }
spec: { controllerName: portcullis.dev/gateway-controller }
`
