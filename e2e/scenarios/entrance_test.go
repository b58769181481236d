package scenarios

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"portcullis.dev/e2e/internal/kit"
	"portcullis.dev/e2e/internal/portcullis"
)

// owners has a Gateway in one namespace, for routes of all namespaces. In another namespace are a route at it and an
// Ingress, whose requests a rival in the first namespace can take.
const owners = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: edge, namespace: %[1]s }
spec:
  gatewayClassName: portcullis
  listeners:
    - { name: http, port: 80, protocol: HTTP, hostname: "*.example.com", allowedRoutes: { namespaces: { from: All } } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: owner, namespace: %[2]s }
spec:
  parentRefs: [{ name: edge, namespace: %[1]s }]
  hostnames: [route.shop.example.com, listener.shop.example.com]
  rules: [{ backendRefs: [{ name: owner, port: 80 }] }]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: owner, namespace: %[2]s }
spec:
  ingressClassName: portcullis
  rules:
    - host: ingress.shop.example.com
      http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: owner, port: { number: 80 } } } }] }
`

// rivals serve the path /rival of the same hostnames: by a route, by a listener that is more specific, and by an
// Ingress; and one hostname that nobody else has.
const rivals = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: rival }
spec:
  parentRefs: [{ name: edge }]
  hostnames: [route.shop.example.com]
  rules: [{ matches: [{ path: { value: /rival } }], backendRefs: [{ name: rival, port: 80 }] }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: taker }
spec:
  gatewayClassName: portcullis
  listeners: [{ name: http, port: 80, protocol: HTTP, hostname: listener.shop.example.com }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: taker }
spec:
  parentRefs: [{ name: taker }]
  rules: [{ backendRefs: [{ name: rival, port: 80 }] }]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: rival }
spec:
  ingressClassName: portcullis
  rules:
    - host: ingress.shop.example.com
      http: { paths: [{ path: /rival, pathType: Prefix, backend: { service: { name: rival, port: { number: 80 } } } }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: alone }
spec:
  parentRefs: [{ name: edge }]
  hostnames: [alone.shop.example.com]
  rules: [{ backendRefs: [{ name: rival, port: 80 }] }]
`

// contest is a scenario with objects of both.
type contest struct {
	s      *kit.S
	owner  string // the owner's namespace
	client *kit.Client
	load   *kit.Running
	// processes are the containers that serve.
	processes []string
}

// begin makes the owner's objects, then the rival's, with load on another route all the time.
func begin(s *kit.S, labels ...string) contest {
	s.T.Helper()
	c := contest{s: s, owner: s.NewNamespace("owner", labels...)}
	s.ApplyTo("", owners, s.Namespace, c.owner)
	s.EchoIn(c.owner, "owner", 1)
	s.Echo("web", "rival")
	s.AwaitDeployment(c.owner, "owner")
	_, c.load = underLoad(s, "web", "")
	c.client = &kit.Client{Address: s.AwaitGateway(s.Namespace, "edge")}
	c.awaitSecondAfterOwner()
	s.Apply(rivals)
	c.processes = processes(s)
	return c
}

// awaitSecondAfterOwner makes sure that later objects are younger: the API server's times are in whole seconds.
func (c contest) awaitSecondAfterOwner() {
	c.s.T.Helper()
	route, err := c.s.Gateway.GatewayV1().HTTPRoutes(c.owner).Get(c.s.Context(), "owner", metav1.GetOptions{})
	c.s.Must(err)
	c.s.Eventually("the second after the owner's route was made", func() error {
		if now := time.Now(); now.Unix() <= route.CreationTimestamp.Unix() {
			return fmt.Errorf("it is %s", now)
		}
		return nil
	})
}

// served expects every hostname at /rival to be answered by the rival.
func (c contest) served() {
	c.s.T.Helper()
	for _, host := range []string{"route", "listener", "ingress", "alone"} {
		c.s.ExpectOfEach(c.client, "http://"+host+".shop.example.com/rival", kit.Want{Service: "rival"})
	}
	c.s.AwaitRoute(c.s.Namespace, "rival")
	c.s.AwaitRoute(c.s.Namespace, "taker")
	c.s.AwaitGateway(c.s.Namespace, "taker")
	awaitListener(c.s, c.s.Namespace, "taker", "http", "Accepted", metav1.ConditionTrue, "Accepted")
}

// refused expects the owner to answer the hostnames that both have, and the rival's statuses to say why.
func (c contest) refused() {
	c.s.T.Helper()
	for _, host := range []string{"route", "listener", "ingress"} {
		c.s.ExpectOfEach(c.client, "http://"+host+".shop.example.com/rival", kit.Want{Service: "owner"})
	}
	namespace := c.s.Namespace
	awaitParent(c.s, namespace, "rival", "Accepted", metav1.ConditionFalse, "NotAllowedByListeners")
	awaitListener(c.s, namespace, "taker", "http", "Accepted", metav1.ConditionFalse, "HostnameConflict")
	awaitCondition(c.s, namespace, "taker", "Accepted", metav1.ConditionFalse, "ListenersNotValid")
	awaitCondition(c.s, namespace, "taker", "Programmed", metav1.ConditionFalse, "Invalid")
	c.s.AwaitRoute(c.owner, "owner")
}

// end expects that no container was restarted, and no request of the load lost.
func (c contest) end(what string) {
	c.s.T.Helper()
	if now := processes(c.s); !slices.Equal(now, c.processes) {
		c.s.T.Errorf("containers were restarted: %v before, %v now", c.processes, now)
	}
	c.load.StopClean(what)
}

// processes are the containers of Portcullis's pods; a restarted one is another.
func processes(s *kit.S) []string {
	s.T.Helper()
	var all []string
	for _, pod := range s.PortcullisPods() {
		for _, status := range pod.Status.ContainerStatuses {
			all = append(all, status.ContainerID)
		}
	}
	slices.Sort(all)
	return all
}

// awaitSettings waits until every pod says of the ConfigMap whether it is missing.
func awaitSettings(s *kit.S, missing bool) {
	s.T.Helper()
	for _, pod := range s.PortcullisPods() {
		s.Eventually("what pod "+pod.Name+" says of its settings", func() error {
			answer := s.Admin(pod, "/readyz")
			if answer.Status != 200 || strings.Contains(answer.Body, "--settings-configmap") != missing {
				return fmt.Errorf("status %d, %s", answer.Status, answer.Body)
			}
			return nil
		})
	}
}

// TestSharedHostnames reserves hostnames for namespaces with a label: by a value, by the label, and lifted again;
// without a restart. The settings stay in force if somebody deletes the ConfigMap.
func TestSharedHostnames(t *testing.T) {
	s := kit.New(t)
	c := begin(s, "hostnames", "shop")
	c.served()

	s.WithValues("--set-json", `sharedEntrance.hostnames=[
		{"namespaceSelector":{"matchLabels":{"hostnames":"shop"}},"hostnames":["*.shop.example.com"]},
		{"namespaceSelector":{},"hostnames":["*"]}]`)
	refused := func() {
		t.Helper()
		c.refused()
		s.ExpectOfEach(c.client, "http://alone.shop.example.com/rival", kit.Want{Status: 404})
		awaitParent(s, s.Namespace, "alone", "Accepted", metav1.ConditionFalse, "NotAllowedByListeners")
		awaitListener(s, s.Namespace, "taker", "http", "Conflicted", metav1.ConditionFalse, "NoConflicts")
	}
	refused()
	awaitEvent(s, s.Namespace, "Ingress", "rival", "is not allowed to serve hostname ingress.shop.example.com")

	s.Label(s.Namespace, "hostnames", "shop")
	c.served()
	s.Label(s.Namespace, "hostnames", "")
	refused()
	s.Must(s.Kube.CoreV1().ConfigMaps(portcullis.Namespace).Delete(s.Context(), portcullis.Release+"-settings", metav1.DeleteOptions{}))
	awaitSettings(s, true)
	refused()
	s.WithoutValues()
	awaitSettings(s, false)
	c.served()
	c.end("hostnames restricted twice, and free again")
}

// TestFirstNamespaceOwns keeps hostnames for the namespace that served them first, until it no longer serves them, or
// until the setting is lifted; without a restart.
func TestFirstNamespaceOwns(t *testing.T) {
	s := kit.New(t)
	c := begin(s)
	c.served()

	s.WithValues("--set", "sharedEntrance.firstNamespaceOwns=true")
	c.refused()
	awaitListener(s, s.Namespace, "taker", "http", "Conflicted", metav1.ConditionTrue, "HostnameConflict")
	awaitEvent(s, s.Namespace, "Ingress", "rival", "belongs to namespace "+c.owner)
	s.ExpectOfEach(c.client, "http://alone.shop.example.com/rival", kit.Want{Service: "rival"})

	// The owner leaves: the rival is the next oldest. Objects that the owner makes again are younger.
	s.Must(s.Gateway.GatewayV1().HTTPRoutes(c.owner).Delete(s.Context(), "owner", metav1.DeleteOptions{}))
	s.Must(s.Kube.NetworkingV1().Ingresses(c.owner).Delete(s.Context(), "owner", metav1.DeleteOptions{}))
	c.served()
	s.ApplyTo("", owners, s.Namespace, c.owner)
	awaitParent(s, c.owner, "owner", "Accepted", metav1.ConditionFalse, "NotAllowedByListeners")
	awaitEvent(s, c.owner, "Ingress", "owner", "belongs to namespace "+s.Namespace)
	for _, host := range []string{"route", "ingress"} {
		s.ExpectOfEach(c.client, "http://"+host+".shop.example.com/", kit.Want{Status: 404})
	}
	c.served()

	s.WithoutValues()
	for _, host := range []string{"route", "ingress"} {
		s.ExpectOfEach(c.client, "http://"+host+".shop.example.com/", kit.Want{Service: "owner"})
	}
	s.AwaitRoute(c.owner, "owner")
	c.served()
	c.end("hostnames owned, handed on, and free again")
}
