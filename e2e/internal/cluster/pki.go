package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/yaml"
)

// authority signs everything in the cluster.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// identity is who a certificate is for.
type identity struct {
	file  string
	name  string
	group string
	hosts []string
}

func newAuthority(dir string) (*authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cluster"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 1, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	a := &authority{dir: dir, cert: cert, key: key, pem: certificatePEM(der)}
	if err := a.write("ca", a.pem, key); err != nil {
		return nil, err
	}
	return a, a.serviceAccountKey()
}

// issue writes <file>.crt and <file>.key.
func (a *authority) issue(who identity) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: who.name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 1, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if who.group != "" {
		template.Subject.Organization = []string{who.group}
	}
	for _, host := range who.hosts {
		if address := net.ParseIP(host); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	return a.write(who.file, certificatePEM(der), key)
}

// kubeconfig writes one with everything in it, so that it can be used from anywhere.
func (a *authority) kubeconfig(to, file string) error {
	cert, err := os.ReadFile(filepath.Join(a.dir, file+".crt"))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(a.dir, file+".key"))
	if err != nil {
		return err
	}
	data, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "e2e",
		"clusters": []any{map[string]any{"name": "e2e", "cluster": map[string]any{
			"server": "https://172.18.0.2:6443", "certificate-authority-data": a.pem,
		}}},
		"users": []any{map[string]any{"name": file, "user": map[string]any{
			"client-certificate-data": cert, "client-key-data": key,
		}}},
		"contexts": []any{map[string]any{"name": "e2e", "context": map[string]any{"cluster": "e2e", "user": file}}},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

func (a *authority) serviceAccountKey() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	return a.write("service-accounts", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), key)
}

func (a *authority) write(file string, public []byte, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("key of %s: %w", file, err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(filepath.Join(a.dir, file+".key"), private, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(a.dir, file+".crt"), public, 0o644)
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// pki makes every certificate and kubeconfig of the cluster.
func (c *Cluster) pki() error {
	a, err := newAuthority(c.Path("pki"))
	if err != nil {
		return err
	}
	identities := []identity{
		{file: "apiserver", name: "kube-apiserver", hosts: []string{
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
			"localhost", "127.0.0.1", APIServiceIP, c.Nodes[0].IP,
		}},
		{file: "admin", name: "admin", group: "system:masters"},
		{file: "controller-manager", name: "system:kube-controller-manager"},
		{file: "scheduler", name: "system:kube-scheduler"},
		{file: "kube-proxy", name: "system:kube-proxy"},
	}
	for _, node := range c.Nodes {
		identities = append(identities, identity{
			file: "kubelet-" + node.Name, name: "system:node:" + node.Name, group: "system:nodes",
			hosts: []string{node.Name, node.IP},
		})
	}
	for _, who := range identities {
		if err := a.issue(who); err != nil {
			return err
		}
		if who.file == "apiserver" {
			continue
		}
		if err := a.kubeconfig(c.Path(who.file+".kubeconfig"), who.file); err != nil {
			return err
		}
	}
	return nil
}
