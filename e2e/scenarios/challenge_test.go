package scenarios

import (
	"fmt"
	"testing"

	"portcullis.dev/e2e/internal/kit"
)

// solver is what cert-manager creates for an HTTP-01 challenge, except for the Pods.
const solver = `
apiVersion: v1
kind: Service
metadata: { name: cm-acme-http-solver-%[1]s, labels: { acme.cert-manager.io/http01-solver: "true" } }
spec: { type: NodePort, selector: { app: solver }, ports: [{ name: http, port: 8089, targetPort: http }] }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: cm-acme-http-solver-%[1]s
  labels: { acme.cert-manager.io/http01-solver: "true" }
  annotations: { nginx.ingress.kubernetes.io/whitelist-source-range: "0.0.0.0/0,::/0" }
spec:
  ingressClassName: portcullis
  rules:
    - host: challenge.example.com
      http:
        paths:
          - path: /.well-known/acme-challenge/%[1]s
            pathType: ImplementationSpecific
            backend: { service: { name: cm-acme-http-solver-%[1]s, port: { number: 8089 } } }
`

// TestHTTP01Challenge issues and renews the certificate of an Ingress as cert-manager does: while the temporary Ingress
// exists, the challenge is answered over plain HTTP, although the host redirects to HTTPS.
func TestHTTP01Challenge(t *testing.T) {
	s := kit.New(t)
	s.Echo("shop", "solver")
	const plain, secure = "http://challenge.example.com", "https://challenge.example.com"
	issued, renewed := s.NewCertificate("challenge.example.com"), s.NewCertificate("challenge.example.com")
	s.Apply(`
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop
  annotations:
    cert-manager.io/issuer: letsencrypt
    nginx.ingress.kubernetes.io/ssl-redirect: "true"
spec:
  ingressClassName: portcullis
  tls: [{ hosts: [challenge.example.com], secretName: shop-tls }]
  rules:
    - host: challenge.example.com
      http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: shop, port: { number: 80 } } } }] }
`)
	client := &kit.Client{Address: s.AwaitIngress("shop"), Roots: kit.Roots(issued, renewed)}
	redirected := kit.Load{
		Client: client, URL: plain + "/cart", Want: kit.Want{Status: 308, Location: secure + "/cart"}, Workers: 2, Fresh: 1,
	}
	awaitReachable(s, redirected)
	redirects := s.Start(redirected)
	s.Refuse(client, secure+"/") // The default certificate is not trusted.

	encrypted := kit.Load{Client: client, URL: secure + "/cart", Want: kit.Want{Service: "shop"}, Workers: 2, Fresh: 1}
	var responses *kit.Running
	for number, certificate := range []kit.Certificate{issued, renewed} {
		token := fmt.Sprintf("token-%d", number)
		challenge := fmt.Sprintf(solver, token)
		path := "/.well-known/acme-challenge/" + token
		s.Apply(challenge)
		s.ExpectOfEach(client, plain+path, kit.Want{Service: "solver", Path: path})
		s.ExpectOfEach(client, plain+path+"0", kit.Want{Status: 308, Location: secure + path + "0"})
		s.Delete(challenge)
		s.ExpectOfEach(client, plain+path, kit.Want{Status: 308, Location: secure + path})
		s.Secret("shop-tls", certificate)
		for _, pod := range s.ClientsOfPods(client) {
			shows(s, kit.Load{Client: pod, URL: encrypted.URL}, certificate)
		}
		if responses == nil {
			awaitReachable(s, encrypted)
			responses = s.Start(encrypted)
		}
	}
	redirects.StopClean("redirects")
	responses.StopClean("over TLS")
	s.Figure("2 challenges")
}
