package scenarios

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"portcullis.dev/e2e/internal/kit"
)

const churnDomain = "churn.example.com"

// TestIngressChurn creates 1,000 Ingresses with various annotations, and edits and deletes them, while other Ingresses are
// under load. It prints how long an Ingress takes to be served, and to be gone, and the memory of Portcullis.
func TestIngressChurn(t *testing.T) {
	s := kit.New(t)
	c := ingressCrowd{s: s, namespace: s.NewNamespace("crowd")}
	s.Echo("web")
	s.EchoIn(c.namespace, "web", 1)
	s.AwaitDeployment(c.namespace, "web")
	s.ApplyTo(c.namespace, crowdObjects)
	loads := c.fixed()
	client := &kit.Client{Address: s.SharedAddress()}
	fresh := client.Another(func(c *kit.Client) { c.Fresh = true }) // Each host would have a connection of its own.
	before := resident(s)
	few := measure(s, client, churnDomain, "few", ofIngresses(s))

	s.Must(c.round(s.Context(), 0))
	c.served(fresh, 0)
	full := resident(s)
	c.written()
	many := measure(s, client, churnDomain, "many", ofIngresses(s))

	// Rounds go on until the propagation beside them is measured.
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	var measured atomic.Bool
	churned, last := make(chan error, 1), 0
	go func() {
		var err error
		for err == nil && (last < 2 || !measured.Load()) {
			last++
			err = c.round(ctx, last)
		}
		churned <- err
	}()
	busy := measure(s, client, churnDomain, "busy", ofIngresses(s))
	measured.Store(true)
	s.Must(<-churned)
	c.served(fresh, last)
	after := resident(s)

	ingresses := s.Kube.NetworkingV1().Ingresses(c.namespace)
	s.Must(ingresses.DeleteCollection(s.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}))
	c.gone(fresh, last)
	for name, load := range loads {
		load.StopClean(name)
	}
	s.Figure("%d rounds of changes", last)
	s.Figure("propagation of creation and deletion in ms: %s before, %s with %d Ingresses, %s under churn; load average %s",
		medians(few), medians(many), crowdSize, medians(busy), loadAverage())
	s.Figure("resident MB of each pod: %s before, %s with %d Ingresses, %s after the churn", before, full, crowdSize, after)
}

func medians(m measured) string {
	return milliseconds(middle(m.created)) + " and " + milliseconds(middle(m.deleted))
}

// fixedIngresses are under load. Ingresses of the crowd share the host of the last one.
const fixedIngresses = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: plain }
spec:
  ingressClassName: portcullis
  rules:
    - host: plain.%[1]s
      http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }] }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: rewritten
  annotations: { nginx.ingress.kubernetes.io/rewrite-target: /$2 }
spec:
  ingressClassName: portcullis
  rules:
    - host: rewritten.%[1]s
      http: { paths: [{ path: /app(/|$)(.*), pathType: ImplementationSpecific, backend: { service: { name: web, port: { number: 80 } } } }] }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: encrypted
  annotations:
    nginx.ingress.kubernetes.io/whitelist-source-range: 172.16.0.0/12,10.0.0.0/8
    nginx.ingress.kubernetes.io/limit-rps: "100000"
    nginx.ingress.kubernetes.io/enable-cors: "true"
    nginx.ingress.kubernetes.io/proxy-body-size: 8m
spec:
  ingressClassName: portcullis
  tls: [{ hosts: [encrypted.%[1]s], secretName: fixed-tls }]
  rules:
    - host: encrypted.%[1]s
      http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }] }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: shared }
spec:
  ingressClassName: portcullis
  rules:
    - host: shared.%[1]s
      http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }] }
`

// fixed serves fixedIngresses, and starts to send requests to each.
func (c ingressCrowd) fixed() map[string]*kit.Running {
	c.s.T.Helper()
	certificate := c.s.NewCertificate("encrypted." + churnDomain)
	c.s.Secret("fixed-tls", certificate)
	c.s.Apply(fixedIngresses, churnDomain)
	client := &kit.Client{Address: c.s.AwaitIngress("shared"), Roots: kit.Roots(certificate)}
	running := map[string]*kit.Running{}
	for name, load := range map[string]kit.Load{
		"plain":     {URL: "http://plain." + churnDomain + "/", Want: kit.Want{Service: "web", Path: "/"}},
		"rewritten": {URL: "http://rewritten." + churnDomain + "/app/x", Want: kit.Want{Service: "web", Path: "/x"}},
		"encrypted": {URL: "https://encrypted." + churnDomain + "/", Want: kit.Want{Service: "web"}},
		"shared":    {URL: "http://shared." + churnDomain + "/own", Want: kit.Want{Service: "web", Path: "/own"}},
	} {
		load.Client, load.Workers, load.Fresh = client, 1, 1
		awaitReachable(c.s, load)
		running[name] = c.s.Start(load)
	}
	return running
}

// ofIngresses are samples of Ingresses without annotations.
func ofIngresses(s *kit.S) samples {
	api := s.Kube.NetworkingV1().Ingresses(s.Namespace)
	return samples{
		create: func(name, host string) error {
			_, err := api.Create(s.Context(), ingressOf(name, host, "/", "web", nil), metav1.CreateOptions{})
			return err
		},
		delete: func(name string) error { return api.Delete(s.Context(), name, metav1.DeleteOptions{}) },
	}
}

// resident is the memory of each of Portcullis's pods, in MB.
func resident(s *kit.S) string {
	s.T.Helper()
	var all []string
	for _, pod := range s.PortcullisPods() {
		all = append(all, fmt.Sprintf("%.1f", float64(s.MemoryOf(pod).Resident)/1e6))
	}
	return strings.Join(all, " and ")
}

// crowdSize is the number of Ingresses of the crowd, and sharedBy of how many one is at the shared host.
const (
	crowdSize = 1000
	sharedBy  = 10
)

// ingressCrowd is a namespace with Ingresses that change from round to round.
type ingressCrowd struct {
	s         *kit.S
	namespace string
}

// crowdObjects are those that annotations of the crowd refer to. Sessions and hashing apply to all Ingresses of a Service,
// and so have their own.
const crowdObjects = `
apiVersion: v1
kind: Service
metadata: { name: sticky }
spec: { selector: { app: web }, ports: [{ port: 80, targetPort: http }] }
---
apiVersion: v1
kind: Service
metadata: { name: hashed }
spec: { selector: { app: web }, ports: [{ port: 80, targetPort: http }] }
---
apiVersion: v1
kind: Secret
metadata: { name: users }
stringData: { auth: "ada:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=" }
`

// mix is one of the combinations of annotations in the crowd, and the response to a request for its path.
type mix struct {
	annotations map[string]string
	// service is web if empty.
	service string
	// path and asked follow the path of the Ingress.
	path, asked string
	want        kit.Want
}

var mixes = []mix{
	{want: kit.Want{Service: "web"}},
	{annotations: map[string]string{"rewrite-target": "/$2"}, path: "(/|$)(.*)", asked: "/x", want: kit.Want{Service: "web", Path: "/x"}},
	{annotations: map[string]string{"use-regex": "true"}, path: "/v[0-9]+", asked: "/v12", want: kit.Want{Service: "web"}},
	{annotations: map[string]string{"permanent-redirect": "https://moved.example.com"}, want: kit.Want{Status: http.StatusMovedPermanently, Location: "https://moved.example.com"}},
	{annotations: map[string]string{"whitelist-source-range": "192.0.2.0/24"}, want: kit.Want{Status: http.StatusForbidden}},
	{annotations: map[string]string{"auth-type": "basic", "auth-secret": "users", "auth-realm": "crowd"}, want: kit.Want{Status: http.StatusUnauthorized}},
	{annotations: map[string]string{"affinity": "cookie", "session-cookie-name": "route", "session-cookie-max-age": "60"}, service: "sticky", want: kit.Want{Service: "web"}},
	{annotations: map[string]string{"upstream-hash-by": "$request_uri"}, service: "hashed", want: kit.Want{Service: "web"}},
	{annotations: map[string]string{"enable-cors": "true", "cors-allow-origin": "https://*.example.com", "limit-rps": "1000", "limit-connections": "1000"}, want: kit.Want{Service: "web"}},
	{annotations: map[string]string{"custom-http-errors": "404,503", "default-backend": "web", "proxy-body-size": "8m", "proxy-read-timeout": "120"}, want: kit.Want{Service: "web"}},
	// A snippet closes other paths of a host with regular expressions too, so none is at the shared host.
	{annotations: map[string]string{"configuration-snippet": "deny all;"}, want: kit.Want{Status: http.StatusServiceUnavailable}},
}

// mixOf is the combination of an Ingress in a round, or nil if there is no such Ingress in that round.
func mixOf(number, round int) *mix {
	if round < 0 || round > 0 && (number+round)%7 == 0 {
		return nil
	}
	possible := mixes
	if isShared(number) {
		possible = mixes[:len(mixes)-1]
	}
	return &possible[(number/sharedBy+number%sharedBy+round)%len(possible)]
}

func isShared(number int) bool { return number%sharedBy == 0 }

// at is the host and path of an Ingress.
func at(number int) (host, path string) {
	if isShared(number) {
		return "shared." + churnDomain, fmt.Sprintf("/crowd-%d", number)
	}
	return fmt.Sprintf("crowd-%d.%s", number, churnDomain), "/app"
}

// round brings the Ingresses from the round before to this one.
func (c ingressCrowd) round(ctx context.Context, round int) error {
	api := c.s.Kube.NetworkingV1().Ingresses(c.namespace)
	return kit.InParallel(ctx, 0, crowdSize, func(ctx context.Context, number int) error {
		name := fmt.Sprintf("crowd-%d", number)
		before, now := mixOf(number, round-1), mixOf(number, round)
		if now == nil {
			if before == nil {
				return nil
			}
			return api.Delete(ctx, name, metav1.DeleteOptions{})
		}
		host, path := at(number)
		service := "web"
		if now.service != "" {
			service = now.service
		}
		ingress := ingressOf(name, host, path+now.path, service, now.annotations)
		var err error
		if before == nil {
			_, err = api.Create(ctx, ingress, metav1.CreateOptions{})
		} else {
			_, err = api.Update(ctx, ingress, metav1.UpdateOptions{})
		}
		return err
	})
}

// served expects the response of each Ingress of a round from each pod.
func (c ingressCrowd) served(client *kit.Client, round int) {
	c.s.T.Helper()
	for _, pod := range c.s.ClientsOfPods(client) {
		for number := range crowdSize {
			host, path := at(number)
			if mix := mixOf(number, round); mix != nil {
				c.s.Expect(pod, "http://"+host+path+mix.asked, mix.want)
			}
		}
	}
}

// written waits until the status of each Ingress is written, which takes the processors as long as it lasts.
func (c ingressCrowd) written() {
	c.s.T.Helper()
	c.s.Eventually("statuses of all Ingresses", func() error {
		list, err := c.s.Kube.NetworkingV1().Ingresses(c.namespace).List(c.s.Context(), metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return err
		}
		missing := 0
		for _, ingress := range list.Items {
			if len(ingress.Status.LoadBalancer.Ingress) == 0 {
				missing++
			}
		}
		if missing > 0 {
			time.Sleep(500 * time.Millisecond) // It is a long list.
			return fmt.Errorf("%d of %d have none", missing, len(list.Items))
		}
		return nil
	})
}

// gone expects the Ingresses of a round to be served no longer.
func (c ingressCrowd) gone(client *kit.Client, round int) {
	c.s.T.Helper()
	for _, pod := range c.s.ClientsOfPods(client) {
		for number := range crowdSize {
			if host, path := at(number); !isShared(number) && mixOf(number, round) != nil {
				c.s.Expect(pod, "http://"+host+path, kit.Want{Status: http.StatusNotFound})
			}
		}
	}
}

// ingressOf is an Ingress of class portcullis with one path. The annotations are those of ingress-nginx, without prefix.
func ingressOf(name, host, path, service string, annotations map[string]string) *networkingv1.Ingress {
	class, kind := "portcullis", networkingv1.PathTypeImplementationSpecific
	prefixed := map[string]string{}
	for key, value := range annotations {
		prefixed["nginx.ingress.kubernetes.io/"+key] = value
	}
	ingress := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: prefixed}}
	ingress.Spec.IngressClassName = &class
	backend := networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service}}
	backend.Service.Port.Number = 80
	rule := networkingv1.IngressRule{Host: host}
	rule.HTTP = &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: path, PathType: &kind, Backend: backend}}}
	ingress.Spec.Rules = []networkingv1.IngressRule{rule}
	return ingress
}
