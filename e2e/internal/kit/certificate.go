package kit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"time"
)

// Certificate is a self-signed one, which is its own root.
type Certificate struct {
	PEM, Key []byte
	Serial   *big.Int
}

// NewCertificate makes one for names.
func (s *S) NewCertificate(names ...string) Certificate {
	s.T.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.Must(err)
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	s.Must(err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	s.Must(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	s.Must(err)
	return Certificate{
		PEM:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:    pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		Serial: serial,
	}
}

// Secret stores the certificate as one of type kubernetes.io/tls.
func (s *S) Secret(name string, c Certificate) {
	s.T.Helper()
	s.SecretIn(s.Namespace, name, c)
}

// SecretIn stores it in a namespace.
func (s *S) SecretIn(namespace, name string, c Certificate) {
	s.T.Helper()
	s.ApplyTo(namespace, `
apiVersion: v1
kind: Secret
metadata: { name: %s }
type: kubernetes.io/tls
data: { tls.crt: %s, tls.key: %s }
`, name, base64.StdEncoding.EncodeToString(c.PEM), base64.StdEncoding.EncodeToString(c.Key))
}

// Roots trusts the certificates.
func Roots(all ...Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range all {
		pool.AppendCertsFromPEM(c.PEM)
	}
	return pool
}
