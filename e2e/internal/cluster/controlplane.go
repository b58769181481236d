package cluster

import (
	"context"
	"time"
)

// startAPI starts the store and the API server in the first node's network namespace.
func (c *Cluster) startAPI(ctx context.Context) error {
	if err := c.start(c.onFirstNode("etcd",
		"--data-dir", c.Path("etcd"),
		"--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
		"--listen-peer-urls", "http://127.0.0.1:2380",
		"--unsafe-no-fsync", "--log-level", "warn",
	)); err != nil {
		return err
	}
	return c.start(c.onFirstNode("kube-apiserver",
		"--etcd-servers", "http://127.0.0.1:2379",
		"--bind-address", "0.0.0.0", "--advertise-address", c.Nodes[0].IP, "--secure-port", "6443",
		"--service-cluster-ip-range", Services+","+Services6,
		"--client-ca-file", c.Path("pki", "ca.crt"),
		"--tls-cert-file", c.Path("pki", "apiserver.crt"), "--tls-private-key-file", c.Path("pki", "apiserver.key"),
		"--service-account-issuer", "https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file", c.Path("pki", "service-accounts.crt"),
		"--service-account-signing-key-file", c.Path("pki", "service-accounts.key"),
		"--authorization-mode", "Node,RBAC",
		"--kubelet-client-certificate", c.Path("pki", "admin.crt"), "--kubelet-client-key", c.Path("pki", "admin.key"),
		// Else it looks the node's name up, and there is no name server to ask.
		"--kubelet-preferred-address-types", "InternalIP",
		"--allow-privileged",
	))
}

// startControllers needs an API server that answers.
func (c *Cluster) startControllers() error {
	config := c.Path("controller-manager.kubeconfig")
	if err := c.start(c.onFirstNode("kube-controller-manager",
		"--kubeconfig", config, "--authentication-kubeconfig", config, "--authorization-kubeconfig", config,
		"--service-account-private-key-file", c.Path("pki", "service-accounts.key"),
		"--root-ca-file", c.Path("pki", "ca.crt"),
		"--cluster-signing-cert-file", c.Path("pki", "ca.crt"), "--cluster-signing-key-file", c.Path("pki", "ca.key"),
		"--use-service-account-credentials", "--leader-elect=false",
		"--kube-api-qps", "200", "--kube-api-burst", "400",
	)); err != nil {
		return err
	}
	config = c.Path("scheduler.kubeconfig")
	return c.start(c.onFirstNode("kube-scheduler",
		"--kubeconfig", config, "--authentication-kubeconfig", config, "--authorization-kubeconfig", config,
		"--leader-elect=false",
	))
}

func (c *Cluster) onFirstNode(program string, flags ...string) Process {
	return Process{Name: program, Netns: c.Nodes[0].Netns, Args: append([]string{c.Binaries[program]}, flags...)}
}

// AwaitAPI waits until the API server says that it is ready.
func (c *Cluster) AwaitAPI(ctx context.Context) error {
	client, err := c.Clients()
	if err != nil {
		return err
	}
	return Until(ctx, time.Minute, "the API server", func(ctx context.Context) error {
		var code int
		return client.Kube.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).StatusCode(&code).Error()
	})
}
