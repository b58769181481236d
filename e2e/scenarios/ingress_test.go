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
  defaultBackend: { service: { name: rest, port: { number: 80 } } }
  rules:
    - host: "*.blog.example.com"
      http:
        paths: [{ path: /, pathType: Prefix, backend: { service: { name: blog, port: { number: 80 } } } }]
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
	for _, name := range []string{"shop", "blog"} {
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
		{"http://shop.example.com/cart?x=y", kit.Want{Status: 308, Location: "https://shop.example.com/cart?x=y"}},
		{"http://a.blog.example.com/", kit.Want{Service: "blog"}},
		{"http://blog.example.com/", kit.Want{Service: "rest"}},
		{"http://whatever.example.org/x", kit.Want{Service: "rest", Path: "/x"}},
		// Its class is not ours, so it is as if it were not there.
		{"http://other.example.com/", kit.Want{Service: "rest"}},
	} {
		s.Expect(client, row.url, row.want)
	}
	s.Figure("one address, 4 Services, 11 requests")
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
		{"http://foo.yourdomain.com/", kit.Want{Status: 308, Location: "https://foo.yourdomain.com/"}},
		{"http://yourdomain.com/bar/", kit.Want{Status: 308, Location: "https://yourdomain.com/bar/"}},
	} {
		s.Expect(client, row.url, row.want)
	}
	for host, want := range map[string]kit.Certificate{"foo.yourdomain.com": foo, "yourdomain.com": apex} {
		answer := s.Expect(client, "https://"+host+"/bar/", kit.Want{})
		if shown := answer.TLS.PeerCertificates[0].SerialNumber; shown.Cmp(want.Serial) != 0 {
			t.Errorf("%s shows the certificate %v, want %v", host, shown, want.Serial)
		}
	}
	s.Figure("8 requests, 2 certificates")
}
