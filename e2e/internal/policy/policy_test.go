package policy

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

func pod(namespace, name, node, address string, ports ...corev1.ContainerPort) *corev1.Pod {
	p := &corev1.Pod{}
	p.Namespace, p.Name, p.Labels = namespace, name, map[string]string{"app": name}
	p.Spec.NodeName, p.Status.PodIP, p.Status.Phase = node, address, corev1.PodRunning
	p.Spec.Containers = []corev1.Container{{Ports: ports}}
	return p
}

func input(t *testing.T, policies ...string) Input {
	t.Helper()
	host := pod("shop", "host", "node1", "172.18.0.2")
	host.Spec.HostNetwork = true
	ended := pod("shop", "ended", "node1", "10.244.0.9")
	ended.Status.Phase = corev1.PodSucceeded
	in := Input{
		Pods: []*corev1.Pod{
			pod("shop", "web", "node1", "10.244.0.2", corev1.ContainerPort{Name: "http", ContainerPort: 3000, Protocol: corev1.ProtocolTCP}),
			pod("shop", "cart", "node2", "10.244.1.2", corev1.ContainerPort{Name: "http", ContainerPort: 8080}),
			pod("edge", "proxy", "node1", "10.244.0.3"),
			pod("edge", "waiting", "node1", ""),
			host, ended,
		},
		Namespaces: []*corev1.Namespace{
			{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"kubernetes.io/metadata.name": "shop"}}},
			{ObjectMeta: metav1.ObjectMeta{Name: "edge", Labels: map[string]string{"kubernetes.io/metadata.name": "edge"}}},
		},
	}
	for _, text := range policies {
		p := &networkingv1.NetworkPolicy{}
		if err := yaml.UnmarshalStrict([]byte(text), p); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if p.Namespace == "" {
			p.Namespace = "shop"
		}
		in.Policies = append(in.Policies, p)
	}
	return in
}

// chain is the body of a chain, a line for each rule.
func chain(t *testing.T, text, name string) string {
	t.Helper()
	_, after, found := strings.Cut(text, "chain "+name+" {\n")
	if !found {
		return "(no chain)"
	}
	body, _, _ := strings.Cut(after, "  }")
	lines := strings.Split(strings.TrimSpace(body), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "; ")
}

func TestWhatIsLetThrough(t *testing.T) {
	for _, row := range []struct {
		name, policy, chain, want string
	}{
		{"nothing by default-deny", `spec: { podSelector: {}, policyTypes: [Ingress] }`, "in_10_244_0_2", "drop"},
		{"and what goes out stays free", `spec: { podSelector: {}, policyTypes: [Ingress] }`, "out_10_244_0_2", "(no chain)"},
		{"a pod that is not selected", `spec: { podSelector: { matchLabels: { app: cart } } }`, "in_10_244_0_2", "(no chain)"},
		{"a pod of another node", `spec: { podSelector: {} }`, "in_10_244_1_2", "(no chain)"},
		{"everything by an empty rule", `spec: { podSelector: {}, ingress: [{}] }`, "in_10_244_0_2", "return; drop"},
		{"pods of the same namespace", `spec: { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] }`,
			"in_10_244_0_2", "ip saddr { 10.244.0.2, 10.244.1.2 } return; drop"},
		{"pods by label", `spec: { podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { app: cart } } }] }] }`,
			"in_10_244_0_2", "ip saddr { 10.244.1.2 } return; drop"},
		{"every pod of a namespace", `spec: { podSelector: {}, ingress: [{ from: [{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: edge } } }] }] }`,
			"in_10_244_0_2", "ip saddr { 10.244.0.3 } return; drop"},
		{"both selectors in one peer", `spec: { podSelector: {}, ingress: [{ from: [{ namespaceSelector: {}, podSelector: { matchExpressions: [{ key: app, operator: In, values: [proxy, cart] }] } }] }] }`,
			"in_10_244_0_2", "ip saddr { 10.244.0.3, 10.244.1.2 } return; drop"},
		{"a peer that nobody is", `spec: { podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { app: none } } }] }] }`,
			"in_10_244_0_2", "drop"},
		{"a block with an exception", `spec: { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: 172.18.0.0/16, except: [172.18.0.2/32, 172.18.0.3/32] } }] }] }`,
			"in_10_244_0_2", "ip saddr 172.18.0.0/16 ip saddr != { 172.18.0.2/32, 172.18.0.3/32 } return; drop"},
		{"a block of the other family", `spec: { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: "fd00::/8" } }] }] }`,
			"in_10_244_0_2", "drop"},
		{"a port from anywhere", `spec: { podSelector: {}, ingress: [{ ports: [{ port: 80 }, { port: 53, protocol: UDP }] }] }`,
			"in_10_244_0_2", "tcp dport 80 return; udp dport 53 return; drop"},
		{"a range of ports", `spec: { podSelector: {}, ingress: [{ ports: [{ port: 1, endPort: 9079, protocol: TCP }] }] }`,
			"in_10_244_0_2", "tcp dport 1-9079 return; drop"},
		{"a protocol alone", `spec: { podSelector: {}, ingress: [{ ports: [{ protocol: UDP }] }] }`,
			"in_10_244_0_2", "meta l4proto udp return; drop"},
		{"a port by the pod's own name for it", `spec: { podSelector: {}, ingress: [{ ports: [{ port: http }], from: [{ podSelector: { matchLabels: { app: cart } } }] }] }`,
			"in_10_244_0_2", "ip saddr { 10.244.1.2 } tcp dport 3000 return; drop"},
		{"a name that the pod does not have", `spec: { podSelector: {}, ingress: [{ ports: [{ port: admin }] }] }`,
			"in_10_244_0_2", "drop"},
		{"a name for another protocol", `spec: { podSelector: {}, ingress: [{ ports: [{ port: http, protocol: UDP }] }] }`,
			"in_10_244_0_2", "drop"},
		{"out to each peer's port of that name", `spec: { podSelector: {}, policyTypes: [Egress], egress: [{ ports: [{ port: http }], to: [{ podSelector: {} }] }] }`,
			"out_10_244_0_2", "ip daddr 10.244.0.2 tcp dport 3000 return; ip daddr 10.244.1.2 tcp dport 8080 return; drop"},
		{"egress is implied by its rules", `spec: { podSelector: {}, egress: [{ to: [{ ipBlock: { cidr: 10.96.0.0/16 } }] }] }`,
			"out_10_244_0_2", "ip daddr 10.96.0.0/16 return; drop"},
		{"a policy of another namespace", `{ metadata: { namespace: edge }, spec: { podSelector: {} } }`, "in_10_244_0_2", "(no chain)"},
		{"a pod that has ended", `spec: { podSelector: {} }`, "in_10_244_0_9", "(no chain)"},
		{"a pod with the node's network", `spec: { podSelector: {} }`, "in_172_18_0_2", "(no chain)"},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := Rules("node1", input(t, row.policy))
			if got := chain(t, text, row.chain); got != row.want {
				t.Errorf("%s: %q, want %q\n%s", row.chain, got, row.want, text)
			}
		})
	}
}

func TestPoliciesAddUp(t *testing.T) {
	text := Rules("node1", input(t,
		`{ metadata: { name: b }, spec: { podSelector: {}, ingress: [{ ports: [{ port: 81 }] }] } }`,
		`{ metadata: { name: a }, spec: { podSelector: {}, ingress: [{ ports: [{ port: 80 }] }] } }`,
	))
	if got, want := chain(t, text, "in_10_244_0_2"), "tcp dport 80 return; tcp dport 81 return; drop"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWithoutPoliciesNothingIsLeft(t *testing.T) {
	want := "table inet network_policy {\n}\ndelete table inet network_policy\n"
	if got := Rules("node1", input(t)); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTheWholeText(t *testing.T) {
	want := `table inet network_policy {
}
delete table inet network_policy
table inet network_policy {
  # shop/web
  chain in_10_244_0_2 {
    ip saddr { 10.244.0.3 } return
    drop
  }
  # shop/web
  chain out_10_244_0_2 {
    drop
  }
  chain forward {
    type filter hook forward priority -5; policy accept;
    ct state established,related accept
    ip saddr vmap { 10.244.0.2 : jump out_10_244_0_2 }
    ip daddr vmap { 10.244.0.2 : jump in_10_244_0_2 }
  }
  chain input {
    type filter hook input priority -5; policy accept;
    ct state established,related accept
    ip saddr vmap { 10.244.0.2 : jump out_10_244_0_2 }
  }
}
`
	got := Rules("node1", input(t, `
spec:
  podSelector: { matchLabels: { app: web } }
  policyTypes: [Ingress, Egress]
  ingress: [{ from: [{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: edge } } }] }]
`))
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
