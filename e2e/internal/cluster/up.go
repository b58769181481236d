package cluster

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"portcullis.dev/e2e/internal/stage"
)

//go:embed coredns.yaml
var corednsManifest string

// UpOptions is what a cluster is made with besides its own programs.
type UpOptions struct {
	// Images are archives that every node gets.
	Images []string
	// CRDs are files to apply.
	CRDs []string
	// Agent is the command that assigns addresses and enforces NetworkPolicies.
	Agent []string
}

// Up brings the cluster up. What it has started when it fails is left for Down.
func (c *Cluster) Up(ctx context.Context, p *stage.Printer, options UpOptions) error {
	return errors.Join(
		inOrder(
			func() error {
				return p.Run("namespaces, networks, certificates", func() error { return c.prepare(ctx) })
			},
			func() error { return p.Run("API server", func() error { return c.bringUpAPI(ctx) }) },
			func() error {
				return p.Run("nodes with "+strconv.Itoa(len(options.Images))+" images", func() error {
					return c.bringUpNodes(ctx, options)
				})
			},
			func() error { return p.Run("CRDs", func() error { return c.applyCRDs(ctx, options.CRDs) }) },
			func() error { return p.Run("CoreDNS", func() error { return c.bringUpDNS(ctx) }) },
		),
	)
}

func (c *Cluster) prepare(ctx context.Context) error {
	if err := os.MkdirAll(c.Logs(), 0o755); err != nil {
		return err
	}
	if err := c.Save(); err != nil {
		return err
	}
	if err := c.raiseInotify(); err != nil {
		return err
	}
	if err := c.network(ctx); err != nil {
		return err
	}
	if err := c.pki(); err != nil {
		return err
	}
	return c.writeKubectl()
}

func (c *Cluster) bringUpAPI(ctx context.Context) error {
	if err := c.startAPI(ctx); err != nil {
		return err
	}
	if err := c.AwaitAPI(ctx); err != nil {
		return err
	}
	return c.startControllers()
}

func (c *Cluster) bringUpNodes(ctx context.Context, options UpOptions) error {
	if err := c.start(Process{Name: "agent", Netns: c.Outside, Args: options.Agent}); err != nil {
		return err
	}
	for i := range c.Nodes {
		if err := c.startRuntime(ctx, &c.Nodes[i]); err != nil {
			return err
		}
		for _, archive := range options.Images {
			if err := c.ImportImage(ctx, c.Nodes[i], archive); err != nil {
				return fmt.Errorf("image %s on %s: %w", filepath.Base(archive), c.Nodes[i].Name, err)
			}
		}
		if err := c.startKubelet(c.Nodes[i]); err != nil {
			return err
		}
	}
	return c.awaitNodes(ctx)
}

func (c *Cluster) awaitNodes(ctx context.Context) error {
	clients, err := c.Clients()
	if err != nil {
		return err
	}
	for _, node := range c.Nodes {
		err := Until(ctx, 90*time.Second, "node "+node.Name, func(ctx context.Context) error {
			got, err := clients.Kube.CoreV1().Nodes().Get(ctx, node.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, condition := range got.Status.Conditions {
				if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
					return nil
				}
			}
			return fmt.Errorf("it is not ready: %+v", got.Status.Conditions)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) applyCRDs(ctx context.Context, files []string) error {
	clients, err := c.Clients()
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if _, err := clients.Apply(ctx, "", string(text)); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
	}
	return nil
}

func (c *Cluster) bringUpDNS(ctx context.Context) error {
	clients, err := c.Clients()
	if err != nil {
		return err
	}
	if _, err := clients.Apply(ctx, "", corednsManifest); err != nil {
		return err
	}
	return Until(ctx, time.Minute, "CoreDNS", func(ctx context.Context) error {
		got, err := clients.Kube.AppsV1().Deployments("kube-system").Get(ctx, "coredns", metav1.GetOptions{})
		if err != nil {
			return err
		}
		return deploymentReady(got)
	})
}

func deploymentReady(d *appsv1.Deployment) error {
	if d.Status.ObservedGeneration < d.Generation || d.Status.AvailableReplicas < *d.Spec.Replicas {
		return fmt.Errorf("%d of %d pods are available", d.Status.AvailableReplicas, *d.Spec.Replicas)
	}
	return nil
}

const inotifyInstances = "/proc/sys/fs/inotify/max_user_instances"

// raiseInotify lifts a limit of the whole machine: two nodes need more than the usual 128. Down puts it back.
func (c *Cluster) raiseInotify() error {
	text, err := os.ReadFile(inotifyInstances)
	if err != nil {
		return err
	}
	have, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	if have >= 1024 {
		return nil
	}
	c.Inotify = have
	if err := c.Save(); err != nil {
		return err
	}
	return os.WriteFile(inotifyInstances, []byte("1024"), 0o644)
}

// writeKubectl leaves a command to look around with, usable from anywhere on the machine.
func (c *Cluster) writeKubectl() error {
	script := fmt.Sprintf("#!/bin/sh\nexec nsenter --net=/run/netns/%s env KUBECONFIG=%s %s \"$@\"\n",
		c.Outside, c.Kubeconfig(), c.Binaries["kubectl"])
	return os.WriteFile(c.Path("kubectl"), []byte(script), 0o755)
}

// inOrder stops at the first error.
func inOrder(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
