// Package policy turns NetworkPolicies into nftables rules: the rules text of a node is a pure function of policies,
// pods and namespaces. Enforcer, beside it, watches and applies.
//
// A pod's policies are enforced on its own node. What the node itself sends to its pods is always let through, since
// the kubelet's probes come that way; answers of connections that were let through are, too.
package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Table is the name of the nftables table that holds the rules.
const Table = "network_policy"

// Input is everything that rules depend on.
type Input struct {
	Policies   []*networkingv1.NetworkPolicy
	Pods       []*corev1.Pod
	Namespaces []*corev1.Namespace
}

// Rules is the text for `nft -f` that makes a node enforce the policies of its pods. It replaces what was there.
func Rules(node string, in Input) string {
	w := &world{pods: reachable(in.Pods), namespaces: map[string]labels.Set{}}
	for _, namespace := range in.Namespaces {
		w.namespaces[namespace.Name] = namespace.Labels
	}
	policies := slices.Clone(in.Policies)
	slices.SortFunc(policies, func(a, b *networkingv1.NetworkPolicy) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	var incoming, outgoing, chains []string
	for _, pod := range w.pods {
		if pod.Spec.NodeName != node {
			continue
		}
		for _, direction := range []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress} {
			rules, isolated := w.rulesFor(pod, direction, policies)
			if !isolated {
				continue
			}
			prefix, list := "in", &incoming
			if direction == networkingv1.PolicyTypeEgress {
				prefix, list = "out", &outgoing
			}
			chain := prefix + "_" + strings.ReplaceAll(pod.Status.PodIP, ".", "_")
			*list = append(*list, pod.Status.PodIP+" : jump "+chain)
			chains = append(chains, chainText(chain, pod, rules))
		}
	}
	return tableText(incoming, outgoing, chains)
}

// world is what peers are looked up in.
type world struct {
	pods       []*corev1.Pod
	namespaces map[string]labels.Set
}

// reachable are the pods with an address of their own, in a fixed order.
func reachable(pods []*corev1.Pod) []*corev1.Pod {
	var with []*corev1.Pod
	for _, pod := range pods {
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		address, err := netip.ParseAddr(pod.Status.PodIP)
		if err != nil || !address.Is4() || pod.Spec.HostNetwork || ended {
			continue
		}
		with = append(with, pod)
	}
	slices.SortFunc(with, func(a, b *corev1.Pod) int { return strings.Compare(a.Status.PodIP, b.Status.PodIP) })
	return with
}

// rulesFor are the conditions under which a packet of the pod passes, and whether it needs one at all.
func (w *world) rulesFor(pod *corev1.Pod, direction networkingv1.PolicyType, policies []*networkingv1.NetworkPolicy) (rules []string, isolated bool) {
	for _, policy := range policies {
		if policy.Namespace != pod.Namespace || !selects(&policy.Spec.PodSelector, pod.Labels) || !applies(policy, direction) {
			continue
		}
		isolated = true
		if direction == networkingv1.PolicyTypeIngress {
			for _, rule := range policy.Spec.Ingress {
				rules = append(rules, w.conditions(policy.Namespace, "saddr", rule.From, rule.Ports, pod)...)
			}
			continue
		}
		for _, rule := range policy.Spec.Egress {
			rules = append(rules, w.conditions(policy.Namespace, "daddr", rule.To, rule.Ports, nil)...)
		}
	}
	return rules, isolated
}

// applies follows the API's default: ingress always, egress where there are rules for it.
func applies(policy *networkingv1.NetworkPolicy, direction networkingv1.PolicyType) bool {
	if len(policy.Spec.PolicyTypes) > 0 {
		return slices.Contains(policy.Spec.PolicyTypes, direction)
	}
	return direction == networkingv1.PolicyTypeIngress || len(policy.Spec.Egress) > 0
}

// conditions are the nftables matches of one rule. The target, whose container ports have names, is the pod itself for
// what comes in; for what goes out it is each peer.
func (w *world) conditions(namespace, side string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, target *corev1.Pod) []string {
	var all []string
	for _, where := range w.places(namespace, side, peers) {
		if len(ports) == 0 {
			all = append(all, where.match)
			continue
		}
		for _, port := range ports {
			all = append(all, where.withPort(side, port, target)...)
		}
	}
	return all
}

// place is where the other end of a connection may be; its pods are those that named ports are looked up in.
type place struct {
	match string
	pods  []*corev1.Pod
}

func (w *world) places(namespace, side string, peers []networkingv1.NetworkPolicyPeer) []place {
	if len(peers) == 0 {
		return []place{{pods: w.pods}}
	}
	var all []place
	for _, peer := range peers {
		if peer.IPBlock != nil {
			match := "ip " + side + " " + peer.IPBlock.CIDR
			if len(peer.IPBlock.Except) > 0 {
				match += " ip " + side + " != { " + strings.Join(peer.IPBlock.Except, ", ") + " }"
			}
			if prefix, err := netip.ParsePrefix(peer.IPBlock.CIDR); err == nil && prefix.Addr().Is4() {
				all = append(all, place{match: match})
			}
			continue
		}
		if pods := w.selected(namespace, peer); len(pods) > 0 {
			all = append(all, place{match: addresses(side, pods), pods: pods})
		}
	}
	return all
}

func (w *world) selected(namespace string, peer networkingv1.NetworkPolicyPeer) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, pod := range w.pods {
		if peer.NamespaceSelector == nil {
			if pod.Namespace != namespace {
				continue
			}
		} else if !selects(peer.NamespaceSelector, w.namespaces[pod.Namespace]) {
			continue
		}
		if peer.PodSelector == nil || selects(peer.PodSelector, pod.Labels) {
			pods = append(pods, pod)
		}
	}
	return pods
}

// withPort adds a port to a place's match. A name that nobody has matches nothing.
func (p place) withPort(side string, port networkingv1.NetworkPolicyPort, target *corev1.Pod) []string {
	protocol := corev1.ProtocolTCP
	if port.Protocol != nil {
		protocol = *port.Protocol
	}
	name := strings.ToLower(string(protocol))
	switch {
	case port.Port == nil:
		return []string{join(p.match, "meta l4proto "+name)}
	case port.Port.StrVal == "" && port.EndPort != nil:
		return []string{join(p.match, fmt.Sprintf("%s dport %d-%d", name, port.Port.IntVal, *port.EndPort))}
	case port.Port.StrVal == "":
		return []string{join(p.match, fmt.Sprintf("%s dport %d", name, port.Port.IntVal))}
	case target != nil:
		if number := namedPort(target, port.Port.StrVal, protocol); number != 0 {
			return []string{join(p.match, fmt.Sprintf("%s dport %d", name, number))}
		}
		return nil
	}
	var all []string
	for _, pod := range p.pods {
		if number := namedPort(pod, port.Port.StrVal, protocol); number != 0 {
			all = append(all, fmt.Sprintf("ip %s %s %s dport %d", side, pod.Status.PodIP, name, number))
		}
	}
	return all
}

func namedPort(pod *corev1.Pod, name string, protocol corev1.Protocol) int32 {
	for _, container := range pod.Spec.Containers {
		for _, port := range container.Ports {
			if port.Name == name && (port.Protocol == protocol || port.Protocol == "" && protocol == corev1.ProtocolTCP) {
				return port.ContainerPort
			}
		}
	}
	return 0
}

func selects(selector *metav1.LabelSelector, set labels.Set) bool {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && parsed.Matches(set)
}

func addresses(side string, pods []*corev1.Pod) string {
	list := make([]string, len(pods))
	for i, pod := range pods {
		list[i] = pod.Status.PodIP
	}
	return "ip " + side + " { " + strings.Join(list, ", ") + " }"
}

func join(a, b string) string {
	return strings.TrimSpace(a + " " + b)
}
