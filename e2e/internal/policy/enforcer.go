package policy

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
)

// Enforcer applies the rules of every node.
type Enforcer struct {
	Policies   networkinglisters.NetworkPolicyLister
	Pods       corelisters.PodLister
	Namespaces corelisters.NamespaceLister
	// Nodes are the network namespaces by the node's name.
	Nodes map[string]string

	applied map[string]string
}

// Pass applies what has changed since the last one.
func (e *Enforcer) Pass(ctx context.Context) error {
	in, err := e.input()
	if err != nil {
		return err
	}
	if e.applied == nil {
		e.applied = map[string]string{}
	}
	for node, netns := range e.Nodes {
		text := Rules(node, in)
		if e.applied[node] == text {
			continue
		}
		cmd := exec.CommandContext(ctx, "nsenter", "--net=/run/netns/"+netns, "--", "nft", "-f", "-")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("rules of %s: %w: %s\n%s", node, err, out, text)
		}
		e.applied[node] = text
		slog.Info("rules applied", "node", node, "policies", len(in.Policies))
	}
	return nil
}

func (e *Enforcer) input() (Input, error) {
	policies, err := e.Policies.List(labels.Everything())
	if err != nil {
		return Input{}, err
	}
	pods, err := e.Pods.List(labels.Everything())
	if err != nil {
		return Input{}, err
	}
	namespaces, err := e.Namespaces.List(labels.Everything())
	return Input{Policies: policies, Pods: pods, Namespaces: namespaces}, err
}
