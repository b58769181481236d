package scenarios

import (
	"encoding/json"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"portcullis.dev/e2e/internal/kit"
)

// guests has a Gateway for routes of all namespaces, and a route to a Service of another namespace; there, a route at
// the first Gateway, a Gateway with a route of its own, an Ingress, and the ReferenceGrant. The last argument is the
// path of the routes at the first Gateway.
const guests = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: edge, namespace: %[1]s }
spec:
  gatewayClassName: portcullis
  listeners:
    - { name: http, port: 80, protocol: HTTP, hostname: "*.guest.example.com", allowedRoutes: { namespaces: { from: All } } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: visit, namespace: %[1]s }
spec:
  parentRefs: [{ name: edge }]
  hostnames: [visit.guest.example.com]
  rules: [{ matches: [{ path: { value: %[3]s } }], backendRefs: [{ name: guest, namespace: %[2]s, port: 80 }] }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: { name: visit, namespace: %[2]s }
spec:
  from: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: %[1]s }]
  to: [{ group: "", kind: Service }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: attached, namespace: %[2]s }
spec:
  parentRefs: [{ name: edge, namespace: %[1]s }]
  hostnames: [attached.guest.example.com]
  rules: [{ matches: [{ path: { value: %[3]s } }], backendRefs: [{ name: guest, port: 80 }] }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: own, namespace: %[2]s }
spec:
  gatewayClassName: portcullis
  listeners: [{ name: http, port: 80, protocol: HTTP, hostname: own.guest.example.com }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: own, namespace: %[2]s }
spec:
  parentRefs: [{ name: own }]
  rules: [{ backendRefs: [{ name: guest, port: 80 }] }]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: guest, namespace: %[2]s }
spec:
  ingressClassName: portcullis
  rules:
    - host: ingress.guest.example.com
      http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: guest, port: { number: 80 } } } }] }
`

// TestNamespaceSelector serves the namespaces with a label: objects of one that loses it are not served until it has it
// again; without a restart. Their statuses are left as they are in the meantime.
func TestNamespaceSelector(t *testing.T) {
	s := kit.New(t)
	s.Label(s.Namespace, "served-by", "edge")
	guest := s.NewNamespace("guest")
	s.EchoIn(guest, "guest", 1)
	s.ApplyTo("", guests, s.Namespace, guest, "/")
	s.Echo("web")
	s.AwaitDeployment(guest, "guest")
	_, load := underLoad(s, "web", "")
	client := &kit.Client{Address: s.AwaitGateway(s.Namespace, "edge")}
	hosts := []string{"attached", "own", "ingress"}
	served := func() {
		t.Helper()
		for _, host := range append(hosts, "visit") {
			s.ExpectOfEach(client, "http://"+host+".guest.example.com/", kit.Want{Service: "guest"})
		}
		for _, route := range []string{"attached", "own"} {
			s.AwaitRoute(guest, route)
		}
		s.AwaitRoute(s.Namespace, "visit")
		s.AwaitGateway(guest, "own")
		s.AwaitIngressIn(guest, "guest")
		awaitAttached(s, guest, "own", 1)
		awaitAttached(s, s.Namespace, "edge", 2)
	}
	gone := func() {
		t.Helper()
		for _, host := range hosts {
			s.ExpectOfEach(client, "http://"+host+".guest.example.com/", kit.Want{Status: 404})
		}
		s.ExpectOfEach(client, "http://visit.guest.example.com/", kit.Want{Status: 500})
		awaitParent(s, s.Namespace, "visit", "ResolvedRefs", metav1.ConditionFalse, "RefNotPermitted")
		awaitAttached(s, s.Namespace, "edge", 1)
	}
	served()
	before := statuses(s, guest)

	s.WithValues("--set-json", `namespaceSelector="served-by=edge"`)
	since := processes(s)
	gone()
	// An edit in both namespaces, which takes effect in one.
	s.ApplyTo("", guests, s.Namespace, guest, "/x")
	awaitParent(s, s.Namespace, "visit", "ResolvedRefs", metav1.ConditionFalse, "RefNotPermitted")
	s.ExpectOfEach(client, "http://attached.guest.example.com/x", kit.Want{Status: 404})
	left(s, guest, before)

	s.Label(guest, "served-by", "edge")
	s.ExpectOfEach(client, "http://attached.guest.example.com/x", kit.Want{Service: "guest", Path: "/x"})
	s.ApplyTo("", guests, s.Namespace, guest, "/")
	served()
	before = statuses(s, guest)

	s.Label(guest, "served-by", "somebody-else")
	gone()
	left(s, guest, before)
	s.Label(guest, "served-by", "edge")
	served()
	before = statuses(s, guest)
	s.Label(guest, "served-by", "")
	gone()
	left(s, guest, before)

	if now := processes(s); !slices.Equal(now, since) {
		t.Errorf("containers were restarted: %v before, %v now", since, now)
	}
	s.WithoutValues()
	served()
	load.StopClean("selected by labels, 4 changes of them")
}

// left expects the statuses of a namespace to be as they were. By itself it proves nothing: call it once other statuses
// show that the change has taken effect.
func left(s *kit.S, namespace, before string) {
	s.T.Helper()
	if now := statuses(s, namespace); now != before {
		s.T.Errorf("statuses of namespace %s were\n%s\nand are\n%s", namespace, before, now)
	}
}

// statuses are those of a namespace's Gateways, HTTPRoutes and Ingresses.
func statuses(s *kit.S, namespace string) string {
	s.T.Helper()
	all := map[string]any{}
	for _, kind := range []schema.GroupVersionResource{
		{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"},
		{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"},
		{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"},
	} {
		list, err := s.Dynamic.Resource(kind).Namespace(namespace).List(s.Context(), metav1.ListOptions{})
		s.Must(err)
		for _, object := range list.Items {
			all[kind.Resource+"/"+object.GetName()] = object.Object["status"]
		}
	}
	text, err := json.MarshalIndent(all, "", "  ")
	s.Must(err)
	return string(text)
}
