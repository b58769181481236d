package scenarios

import (
	"net/http"
	"testing"

	"portcullis.dev/e2e/internal/kit"
)

// signedIn protects a host by the service signin, which the same host serves at /oauth2, as users install oauth2-proxy.
const signedIn = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: %[1]s
  annotations:
    nginx.ingress.kubernetes.io/auth-url: %[2]q
    nginx.ingress.kubernetes.io/auth-signin: https://$host/oauth2/start?rd=$escaped_request_uri
    nginx.ingress.kubernetes.io/auth-response-headers: X-Auth-Request-User, X-Auth-Request-Email, X-Auth-Request-Groups
    nginx.ingress.kubernetes.io/auth-proxy-set-headers: %[3]s/groups
spec:
  ingressClassName: portcullis
  tls: [{ hosts: [%[1]s.sign-in.example.com], secretName: sign-in-tls }]
  rules:
    - host: %[1]s.sign-in.example.com
      http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }] }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: %[1]s-oauth2 }
spec:
  ingressClassName: portcullis
  tls: [{ hosts: [%[1]s.sign-in.example.com], secretName: sign-in-tls }]
  rules:
    - host: %[1]s.sign-in.example.com
      http: { paths: [{ path: /oauth2, pathType: Prefix, backend: { service: { name: signin, port: { number: 80 } } } }] }
`

// TestSignIn authorizes requests by a service like oauth2-proxy. Portcullis reaches it by the DNS name of its Service, and by
// the public hostname, that is, through its own load balancer address and listener.
func TestSignIn(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	s.SignIn("signin")
	certificate := s.NewCertificate("service.sign-in.example.com", "public.sign-in.example.com")
	s.Secret("sign-in-tls", certificate)
	s.Apply(`
apiVersion: v1
kind: ConfigMap
metadata: { name: groups }
data: { X-Groups: staff }
`)
	s.Apply(signedIn, "service", "http://signin."+s.Namespace+".svc.cluster.local/oauth2/auth", s.Namespace)
	s.Apply(signedIn, "public", "https://$host/oauth2/auth", s.Namespace)
	client := &kit.Client{Address: s.AwaitIngress("service"), Roots: kit.Roots(certificate)}
	s.AwaitIngress("public")

	visit(s, client, "https://service.sign-in.example.com")

	const public = "https://public.sign-in.example.com"
	s.ExpectOfEach(client, public+"/cart", kit.Want{Status: http.StatusInternalServerError}) // closed: its name does not resolve
	s.ExternalName("public.sign-in.example.com", client.Address)
	s.Within(2*kit.Patience, "the name "+public, func() error { // The kubelet updates the file of CoreDNS after a while.
		answer, err := client.Get(s.Context(), public+"/cart")
		if err != nil {
			return err
		}
		return (kit.Want{Status: http.StatusFound}).Check(answer)
	})
	visit(s, client, public)
	s.Figure("by Service and by public hostname: redirect, sign-in, request with headers of the user")
}

// visit does what a browser does without a session.
func visit(s *kit.S, client *kit.Client, site string) {
	s.T.Helper()
	start := site + "/oauth2/start?rd=%2Fcart%3Fitem%3D1"
	s.ExpectOfEach(client, site+"/oauth2/auth", kit.Want{Status: http.StatusUnauthorized})
	s.ExpectOfEach(client, site+"/cart?item=1", kit.Want{Status: http.StatusFound, Location: start})
	started := s.Expect(client, start, kit.Want{Status: http.StatusFound, Location: "/cart?item=1"})
	cookies := (&http.Response{Header: started.Header}).Cookies()
	if len(cookies) != 1 {
		s.T.Fatalf("cookies of %s: %v", start, cookies)
	}
	session := cookies[0].Name + "=" + cookies[0].Value
	for _, pod := range s.ClientsOfPods(client) {
		// Headers of the client do not reach the backend if the service sets them.
		answer := s.Expect(pod, site+"/cart?item=1", kit.Want{Service: "web", Path: "/cart?item=1"},
			"Cookie", session, "X-Auth-Request-User", "mallory", "X-Auth-Request-Email", "mallory@example.com")
		for name, want := range map[string]string{
			"X-Auth-Request-User": "ada", "X-Auth-Request-Email": "ada@example.com", "X-Auth-Request-Groups": "staff",
		} {
			if got := answer.Echo.Received(name); len(got) != 1 || got[0] != want {
				s.T.Errorf("%s: the backend received %s: %q, want %q", site, name, got, want)
			}
		}
		s.Expect(pod, site+"/cart", kit.Want{Status: http.StatusFound, Location: site + "/oauth2/start?rd=%2Fcart"}, "Cookie", cookies[0].Name+"=")
	}
}
