package scenarios

import (
	"testing"

	"portcullis.dev/e2e/internal/kit"
)

// TestIngress is what people come with: names, paths, a certificate, and a default backend behind one address.
func TestIngress(t *testing.T) {
	s := kit.New(t)
	s.Echo("shop", "cart", "blog", "rest")
	certificate := s.NewCertificate("shop.example.com")
	s.Secret("shop-tls", certificate)
	s.Apply(`
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: shop }
spec:
  ingressClassName: portcullis
  tls: [{ hosts: [shop.example.com], secretName: shop-tls }]
  rules:
    - host: shop.example.com
      http:
        paths:
          - { path: /, pathType: Prefix, backend: { service: { name: shop, port: { name: http } } } }
          - { path: /cart, pathType: Prefix, backend: { service: { name: cart, port: { number: 80 } } } }
          - { path: /exact, pathType: Exact, backend: { service: { name: rest, port: { number: 80 } } } }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: blog }
spec:
  ingressClassName: portcullis
  defaultBackend: { service: { name: cart, port: { number: 80 } } }
  rules:
    - host: "*.blog.example.com"
      http:
        paths: [{ path: /posts, pathType: Prefix, backend: { service: { name: blog, port: { number: 80 } } } }]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: rest }
spec:
  ingressClassName: portcullis
  defaultBackend: { service: { name: rest, port: { number: 80 } } }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: of-another-class }
spec:
  ingressClassName: other
  rules:
    - host: other.example.com
      http:
        paths: [{ path: /, pathType: Prefix, backend: { service: { name: shop, port: { number: 80 } } } }]
`)
	address := s.SharedAddress()
	for _, name := range []string{"shop", "blog", "rest"} {
		if got := s.AwaitIngress(name); got != address {
			t.Errorf("Ingress %s has the address %s, and the Service %s", name, got, address)
		}
	}
	client := &kit.Client{Address: address, Roots: kit.Roots(certificate)}
	for _, row := range []struct {
		url  string
		want kit.Want
	}{
		{"https://shop.example.com/", kit.Want{Service: "shop", Path: "/"}},
		{"https://shop.example.com/cart", kit.Want{Service: "cart"}},
		{"https://shop.example.com/cart/1?x=y", kit.Want{Service: "cart", Path: "/cart/1?x=y"}},
		{"https://shop.example.com/cartoon", kit.Want{Service: "shop"}},
		{"https://shop.example.com/exact", kit.Want{Service: "rest"}},
		{"https://shop.example.com/exact/x", kit.Want{Service: "shop"}},
		{"http://a.blog.example.com/posts/1", kit.Want{Service: "blog"}},
		// A default backend beside rules is for their hosts, one without rules for those that nobody names.
		{"http://a.blog.example.com/", kit.Want{Service: "cart"}},
		{"http://blog.example.com/", kit.Want{Service: "rest"}},
		{"http://whatever.example.org/x", kit.Want{Service: "rest", Path: "/x"}},
		// Its class is not ours, so it is as if it were not there.
		{"http://other.example.com/", kit.Want{Service: "rest"}},
	} {
		s.Expect(client, row.url, row.want)
	}
	s.Figure("one address, 4 Services, 10 requests")
}

// TestOneLoadBalancer is the case that it is all for: everything on foo.yourdomain.com to the foo service, everything
// under yourdomain.com/bar/ to the bar service, with TLS, through one load balancer.
func TestOneLoadBalancer(t *testing.T) {
	s := kit.New(t)
	s.Echo("foo", "bar")
	foo, apex := s.NewCertificate("foo.yourdomain.com"), s.NewCertificate("yourdomain.com")
	s.Secret("foo-tls", foo)
	s.Secret("yourdomain-tls", apex)
	s.Apply(`
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: everything }
spec:
  ingressClassName: portcullis
  tls:
    - { hosts: [foo.yourdomain.com], secretName: foo-tls }
    - { hosts: [yourdomain.com], secretName: yourdomain-tls }
  rules:
    - host: foo.yourdomain.com
      http:
        paths: [{ path: /, pathType: Prefix, backend: { service: { name: foo, port: { number: 80 } } } }]
    - host: yourdomain.com
      http:
        paths: [{ path: /bar/, pathType: Prefix, backend: { service: { name: bar, port: { number: 80 } } } }]
`)
	client := &kit.Client{Address: s.AwaitIngress("everything"), Roots: kit.Roots(foo, apex)}
	for _, row := range []struct {
		url  string
		want kit.Want
	}{
		{"https://foo.yourdomain.com/", kit.Want{Service: "foo"}},
		{"https://foo.yourdomain.com/bar/x", kit.Want{Service: "foo", Path: "/bar/x"}},
		{"https://yourdomain.com/bar/", kit.Want{Service: "bar"}},
		{"https://yourdomain.com/bar/x?y=1", kit.Want{Service: "bar", Path: "/bar/x?y=1"}},
		{"https://yourdomain.com/", kit.Want{Status: 404}},
		{"https://yourdomain.com/barn", kit.Want{Status: 404}},
	} {
		s.Expect(client, row.url, row.want)
	}
	for host, want := range map[string]kit.Certificate{"foo.yourdomain.com": foo, "yourdomain.com": apex} {
		answer := s.Expect(client, "https://"+host+"/bar/", kit.Want{})
		if shown := answer.TLS.PeerCertificates[0].SerialNumber; shown.Cmp(want.Serial) != 0 {
			t.Errorf("%s shows the certificate %v, want %v", host, shown, want.Serial)
		}
	}
	s.Figure("6 requests, 2 certificates")
}

// TestRedirect sends clients to where they reach us: the ports of the load balancer, not those that the pods bind.
func TestRedirect(t *testing.T) {
	s := kit.New(t)
	s.Echo("shop")
	certificate := s.NewCertificate("redirect.example.com")
	s.Secret("shop-tls", certificate)
	s.Apply(`
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: shop }
spec:
  ingressClassName: portcullis
  tls: [{ hosts: [redirect.example.com], secretName: shop-tls }]
  rules:
    - host: redirect.example.com
      http:
        paths: [{ path: /, pathType: Prefix, backend: { service: { name: shop, port: { number: 80 } } } }]
`)
	s.Apply(gatewayAndRoute, "moved", "moved.example.com", "shop")
	s.Apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: old }
spec:
  parentRefs: [{ name: moved }]
  rules:
    - matches: [{ path: { value: /secure } }]
      filters: [{ type: RequestRedirect, requestRedirect: { scheme: https } }]
    - matches: [{ path: { value: /old } }]
      filters: [{ type: RequestRedirect, requestRedirect: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /new } } }]
`)
	client := &kit.Client{Address: s.AwaitIngress("shop"), Roots: kit.Roots(certificate)}
	s.AwaitGateway(s.Namespace, "moved")
	for _, row := range []struct {
		url  string
		want kit.Want
	}{
		{"https://redirect.example.com/", kit.Want{Service: "shop"}},
		{"http://redirect.example.com/cart?x=y", kit.Want{Status: 308, Location: "https://redirect.example.com/cart?x=y"}},
		{"http://moved.example.com/secure/x", kit.Want{Status: 302, Location: "https://moved.example.com/secure/x"}},
		{"http://moved.example.com/old/x", kit.Want{Status: 302, Location: "http://moved.example.com/new/x"}},
	} {
		s.Expect(client, row.url, row.want)
	}
	// What a backend is told about the port has to be the client's, too.
	answer := s.Expect(client, "http://moved.example.com/", kit.Want{Service: "shop"})
	if port := answer.Echo.Headers["X-Forwarded-Port"]; len(port) != 1 || port[0] != "80" {
		t.Errorf("X-Forwarded-Port %v, want 80", port)
	}
}
