// Package agent is what a platform has besides Kubernetes: addresses for Services, and enforced NetworkPolicies. It is
// a process of its own, so that a kept cluster goes on having both.
package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"portcullis.dev/e2e/internal/assigner"
	"portcullis.dev/e2e/internal/cluster"
	"portcullis.dev/e2e/internal/policy"
)

// Run serves until the context ends.
func Run(ctx context.Context, c *cluster.Cluster) error {
	clients, err := c.Clients()
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(clients.Kube, 0)
	services := factory.Core().V1().Services()
	pods, namespaces := factory.Core().V1().Pods(), factory.Core().V1().Namespaces()
	policies := factory.Networking().V1().NetworkPolicies()

	assign := assigner.Assigner{
		Client: clients.Kube, Services: services.Lister(),
		Pool: netip.MustParsePrefix(cluster.Pool), Allowed: netip.MustParsePrefix(cluster.LoadBalancers),
	}
	enforce := policy.Enforcer{
		Policies: policies.Lister(), Pods: pods.Lister(), Namespaces: namespaces.Lister(), Nodes: map[string]string{},
	}
	for _, node := range c.Nodes {
		enforce.Nodes[node.Name] = node.Netns
	}
	assigning, err := wake(services.Informer())
	if err != nil {
		return err
	}
	enforcing, err := wake(pods.Informer(), namespaces.Informer(), policies.Informer())
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	slog.Info("ready")
	go loop(ctx, "NetworkPolicies", enforcing, enforce.Pass)
	loop(ctx, "addresses", assigning, assign.Pass)
	return nil
}

// wake gives a signal after any change of what the informers see; several changes may be one signal.
func wake(all ...cache.SharedIndexInformer) (chan struct{}, error) {
	signal := make(chan struct{}, 1)
	for _, informer := range all {
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { poke(signal) },
			UpdateFunc: func(any, any) { poke(signal) },
			DeleteFunc: func(any) { poke(signal) },
		})
		if err != nil {
			return nil, err
		}
	}
	return signal, nil
}

func poke(signal chan struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}

// loop makes a pass after each signal, and again a little later when one fails.
func loop(ctx context.Context, what string, signal chan struct{}, pass func(context.Context) error) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signal:
		}
		if err := pass(ctx); err != nil && ctx.Err() == nil {
			slog.Error(what, "error", err)
			time.AfterFunc(500*time.Millisecond, func() { poke(signal) })
		}
	}
}
