package scenarios

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"portcullis.dev/e2e/internal/kit"
)

// TestServices has a backend of each kind of Service that there is.
func TestServices(t *testing.T) {
	s := kit.New(t)
	s.Echo("plain")
	pod := s.Pods(s.Namespace, "app=plain")[0]
	s.Apply(`
apiVersion: v1
kind: Service
metadata: { name: headless }
spec: { clusterIP: None, selector: { app: plain }, ports: [{ port: 3000 }] }
---
apiVersion: v1
kind: Service
metadata: { name: node-port }
spec: { type: NodePort, selector: { app: plain }, ports: [{ port: 80, targetPort: 3000 }] }
---
apiVersion: v1
kind: Service
metadata: { name: load-balancer }
spec: { type: LoadBalancer, selector: { app: plain }, ports: [{ port: 80, targetPort: 3000 }] }
---
apiVersion: v1
kind: Service
metadata: { name: by-hand }
spec: { ports: [{ name: web, port: 80 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: by-hand-1, labels: { kubernetes.io/service-name: by-hand } }
addressType: IPv4
ports: [{ name: web, port: 3000, protocol: TCP }]
endpoints: [{ addresses: [%[1]s], conditions: { ready: true } }]
---
apiVersion: v1
kind: Service
metadata: { name: external }
spec: { type: ExternalName, externalName: backend.example.net, ports: [{ port: 3000 }] }
`, pod.Status.PodIP)
	s.ExternalName("backend.example.net", pod.Status.PodIP)
	ports := map[string]int{"plain": 80, "headless": 3000, "node-port": 80, "load-balancer": 80, "by-hand": 80, "external": 3000}
	var rules strings.Builder
	for name, port := range ports {
		fmt.Fprintf(&rules, "    - { matches: [{ path: { value: /%s } }], backendRefs: [{ name: %s, port: %d }] }\n", name, name, port)
	}
	s.Apply(gatewayAndRoute, "services", "services.example.com", "plain")
	s.Apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: each }
spec:
  parentRefs: [{ name: services }]
  rules:
` + rules.String())
	client := &kit.Client{Address: s.AwaitGateway(s.Namespace, "services")}
	for name := range ports {
		s.Expect(client, "http://services.example.com/"+name, kit.Want{Service: "plain", Path: "/" + name})
	}
	s.AwaitRoute(s.Namespace, "each")
	s.Figure("%d kinds of Service", len(ports))
}

// TestNamedTargetPort has pods of one Service that listen on different ports under one name.
func TestNamedTargetPort(t *testing.T) {
	s := kit.New(t)
	for name, port := range map[string]int{"low": 3000, "high": 4000} {
		s.Apply(`
apiVersion: v1
kind: Pod
metadata: { name: %[1]s, labels: { app: mixed } }
spec:
  enableServiceLinks: false
  containers:
    - name: echo
      image: `+kit.EchoImage+`
      imagePullPolicy: Never
      env: [{ name: POD_NAME, value: %[1]s }, { name: HTTP_PORT, value: "%[2]d" }]
      ports: [{ name: web, containerPort: %[2]d }]
      readinessProbe: { tcpSocket: { port: web }, periodSeconds: 1 }
      resources: { requests: { cpu: 1m } }
`, name, port)
	}
	s.Apply(`
apiVersion: v1
kind: Service
metadata: { name: mixed }
spec: { selector: { app: mixed }, ports: [{ port: 80, targetPort: web }] }
`)
	s.Apply(gatewayAndRoute, "mixed", "mixed.example.com", "mixed")
	client := &kit.Client{Address: s.AwaitGateway(s.Namespace, "mixed")}
	seen := map[string]bool{}
	s.Eventually("an answer of both pods", func() error {
		answer, err := client.Get(s.Context(), "http://mixed.example.com/")
		if err != nil {
			return err
		}
		if err := (kit.Want{}).Check(answer); err != nil {
			return err
		}
		seen[answer.Echo.Pod] = true
		if !seen["low"] || !seen["high"] {
			return fmt.Errorf("seen so far: %v", seen)
		}
		return nil
	})
	s.Figure("2 pods, 2 ports, 1 name")
}

// TestNodePort comes in by a node's own address, on every node, wherever the pods are.
func TestNodePort(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	s.Apply(gatewayAndRoute, "node-port", "node-port.example.com", "web")
	s.AwaitGateway(s.Namespace, "node-port")
	service, err := s.Kube.CoreV1().Services("portcullis").Get(s.Context(), "portcullis", metav1.GetOptions{})
	s.Must(err)
	for _, port := range service.Spec.Ports {
		if port.Port != 80 {
			continue
		}
		if port.NodePort == 0 {
			t.Fatal("port 80 of the Service has no node port")
		}
		for _, node := range s.Cluster.Nodes {
			client := &kit.Client{Address: node.IP, HTTPPort: int(port.NodePort)}
			s.Expect(client, "http://node-port.example.com/", kit.Want{Service: "web"})
		}
	}
	s.Figure("both nodes")
}

// TestPodNetwork goes from Portcullis's pods to a Service's by their own addresses, across nodes and without NAT: a
// backend is met by every pod of Portcullis, and sees that pod's address.
func TestPodNetwork(t *testing.T) {
	s := kit.New(t)
	s.OwnEcho("web", 2)
	s.Spread()
	s.Must(s.OnEachNode(s.Pods(s.Namespace, "app=web")))
	node := map[string]string{} // by a pod's address or name
	proxies, backends := s.PortcullisPods(), s.Pods(s.Namespace, "app=web")
	for _, pod := range slices.Concat(proxies, backends) {
		node[pod.Status.PodIP], node[pod.Name] = pod.Spec.NodeName, pod.Spec.NodeName
	}
	s.Apply(gatewayAndRoute, "pods", "pods.example.com", "web")
	client := &kit.Client{Address: s.AwaitGateway(s.Namespace, "pods"), Fresh: true}
	ways := map[string]bool{}
	s.Eventually("every way from Portcullis's pods to the backend's", func() error {
		answer, err := client.Get(s.Context(), "http://pods.example.com/")
		if err != nil {
			return err
		}
		if err := (kit.Want{Service: "web"}).Check(answer); err != nil {
			return err
		}
		from, err := netip.ParseAddrPort(answer.Echo.Remote)
		s.Must(err)
		if !slices.ContainsFunc(proxies, func(pod corev1.Pod) bool { return pod.Status.PodIP == from.Addr().Unmap().String() }) {
			t.Fatalf("%s was asked from %s, which is no pod of Portcullis", answer.Echo.Pod, from)
		}
		ways[node[from.Addr().Unmap().String()]+" to "+node[answer.Echo.Pod]] = true
		if len(ways) < len(s.Cluster.Nodes)*len(s.Cluster.Nodes) {
			return fmt.Errorf("seen so far: %v", ways)
		}
		return nil
	})
	s.Figure("%d ways between %d nodes", len(ways), len(s.Cluster.Nodes))
}

// TestExternalNameMoves follows a name to where it points next.
func TestExternalNameMoves(t *testing.T) {
	s := kit.New(t)
	s.Echo("first", "second")
	address := func(app string) string { return s.Pods(s.Namespace, "app="+app)[0].Status.PodIP }
	s.Apply(`
apiVersion: v1
kind: Service
metadata: { name: moving }
spec: { type: ExternalName, externalName: moving.example.net, ports: [{ port: 3000 }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: moving }
spec:
  gatewayClassName: portcullis
  listeners: [{ name: http, port: 80, protocol: HTTP, hostname: moving.example.com }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: moving }
spec:
  parentRefs: [{ name: moving }]
  rules: [{ backendRefs: [{ name: moving, port: 3000 }] }]
`)
	client := &kit.Client{Address: s.AwaitGateway(s.Namespace, "moving")}
	for _, app := range []string{"first", "second", "first"} {
		s.ExternalName("moving.example.net", address(app))
		s.Within(2*kit.Patience, "an answer of "+app, func() error { // the kubelet brings the name, then TTLs end
			answer, err := client.Get(s.Context(), "http://moving.example.com/")
			if err != nil {
				return err
			}
			return (kit.Want{Service: app}).Check(answer)
		})
	}
	s.Figure("moved twice")
}

// TestDualStack reaches the same pod by its IPv6 address alone, and by whichever of both; clients come by both, too,
// once the chart is told so.
func TestDualStack(t *testing.T) {
	s := kit.New(t)
	s.OwnEcho("web", 1)
	s.Apply(`
apiVersion: v1
kind: Service
metadata: { name: six }
spec: { ipFamilies: [IPv6], selector: { app: web }, ports: [{ port: 80, targetPort: http }] }
---
apiVersion: v1
kind: Service
metadata: { name: both }
spec: { ipFamilyPolicy: RequireDualStack, selector: { app: web }, ports: [{ port: 80, targetPort: http }] }
`)
	s.Apply(gatewayAndRoute, "dual", "dual.example.com", "both")
	s.Apply(httpRouteOf, "six", "dual", "/six", "six")
	client := &kit.Client{Address: s.AwaitGateway(s.Namespace, "dual"), Fresh: true}
	proxies := map[string]bool{}
	for _, pod := range s.PortcullisPods() {
		for _, ip := range pod.Status.PodIPs {
			proxies[ip.IP] = true
		}
	}
	for path, six := range map[string]bool{"six": true, "": false} {
		answer := s.Expect(client, "http://dual.example.com/"+path, kit.Want{Service: "web"})
		from, err := netip.ParseAddrPort(answer.Echo.Remote)
		s.Must(err)
		address := from.Addr().Unmap()
		if !proxies[address.String()] || six && !address.Is6() {
			t.Errorf("/%s: asked from %s; Portcullis's addresses: %v", path, address, proxies)
		}
	}
	s.AwaitRoute(s.Namespace, "six")

	s.WithValues("--set", "service.ipFamilyPolicy=RequireDualStack")
	service, err := s.Kube.CoreV1().Services("portcullis").Get(s.Context(), "portcullis", metav1.GetOptions{})
	s.Must(err)
	for _, node := range s.Cluster.Nodes {
		for _, address := range []string{node.IP, node.IP6} {
			client := &kit.Client{Address: address, HTTPPort: nodePortOf(service, 80)}
			s.Expect(client, "http://dual.example.com/", kit.Want{Service: "web"})
		}
	}
	s.Figure("a backend by IPv6 alone, and by both; clients by both")
}
