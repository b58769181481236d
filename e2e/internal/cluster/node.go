package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

// PauseImage is what containerd makes a pod's sandbox of.
const PauseImage = "registry.k8s.io/pause:3.10"

// SignInImage is a service for external authentication (cmd/signin).
const SignInImage = "portcullis.dev/e2e/signin:e2e"

// The thresholds keep the kubelet from judging the machine's disk; restrict_oom_score_adj is for machines where root
// may not lower it; disable_tcp_service since nobody streams over it from elsewhere.
var nodeFiles = map[string]string{
	"containerd.toml": `version = 2
root = "{{.Node.Dir}}/containerd/root"
state = "{{.Node.Dir}}/containerd/state"
[grpc]
  address = "{{.Node.Dir}}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{{.Node.Dir}}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{{.PauseImage}}"
  disable_tcp_service = true
  restrict_oom_score_adj = true
  max_container_log_line_size = 65536
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{{.Node.Dir}}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
`,
	"cni/10-pods.conflist": `{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "{{.Node.PodCIDR}}"}], [{"subnet": "{{.Node.PodCIDR6}}"}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}], "dataDir": "{{.Node.Dir}}/cni-addresses"}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
`,
	// There is no name server but the cluster's.
	"resolv.conf": "nameserver 127.0.0.1\n",
	"kubelet.yaml": `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: { enabled: false }
  webhook: { enabled: true }
  x509: { clientCAFile: "{{.Dir}}/pki/ca.crt" }
authorization: { mode: Webhook }
cgroupDriver: cgroupfs
cgroupRoot: {{.CgroupRoot}}
clusterDNS: [{{.DNS}}]
clusterDomain: cluster.local
configMapAndSecretChangeDetectionStrategy: Watch
containerRuntimeEndpoint: unix://{{.Node.Dir}}/containerd.sock
evictionHard: { memory.available: 0%, nodefs.available: 0%, imagefs.available: 0% }
failCgroupV1: false
failSwapOn: false
imageGCHighThresholdPercent: 100
kubeAPIBurst: 400
kubeAPIQPS: 200
localStorageCapacityIsolation: false
maxPods: 200
podLogsDir: {{.Node.Dir}}/pod-logs
registerNode: true
resolvConf: {{.Node.Dir}}/resolv.conf
serializeImagePulls: false
syncFrequency: 10s
tlsCertFile: {{.Dir}}/pki/kubelet-{{.Node.Name}}.crt
tlsPrivateKeyFile: {{.Dir}}/pki/kubelet-{{.Node.Name}}.key
`,
	"kube-proxy.yaml": `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: "{{.Pods}},{{.Pods6}}"
clientConnection: { kubeconfig: "{{.Dir}}/kube-proxy.kubeconfig" }
conntrack: { maxPerCore: 0 }
hostnameOverride: {{.Node.Name}}
nftables: { minSyncPeriod: 100ms }
nodePortAddresses: [primary]
`,
}

// startRuntime brings up a node's namespaces and its containerd.
func (c *Cluster) startRuntime(ctx context.Context, node *Node) error {
	if err := c.writeNodeFiles(*node); err != nil {
		return err
	}
	if err := c.makeCgroups(*node); err != nil {
		return err
	}
	if err := c.startNodeInit(node); err != nil {
		return err
	}
	if err := c.start(Process{
		Name: "containerd-" + node.Name, Netns: node.Netns, Init: node.Init,
		Args: []string{"containerd", "--config", filepath.Join(node.Dir, "containerd.toml")},
	}); err != nil {
		return err
	}
	return Until(ctx, 20*time.Second, "containerd of "+node.Name, func(ctx context.Context) error {
		return run(exec.CommandContext(ctx, "ctr", "--address", node.Socket(), "version"))
	})
}

// startKubelet makes the machine a node of the cluster.
func (c *Cluster) startKubelet(node Node) error {
	if err := c.start(Process{
		Name: "kubelet-" + node.Name, Netns: node.Netns, Init: node.Init,
		Args: []string{
			c.Binaries["kubelet"],
			"--config", filepath.Join(node.Dir, "kubelet.yaml"),
			"--kubeconfig", c.Path("kubelet-" + node.Name + ".kubeconfig"),
			"--hostname-override", node.Name,
			"--node-ip", node.IP + "," + node.IP6,
			"--root-dir", filepath.Join(node.Dir, "kubelet"),
		},
	}); err != nil {
		return err
	}
	return c.start(Process{
		Name: "kube-proxy-" + node.Name, Netns: node.Netns,
		Args: []string{c.Binaries["kube-proxy"], "--config", filepath.Join(node.Dir, "kube-proxy.yaml")},
	})
}

// ImportImage gives an archive to the node's containerd.
func (c *Cluster) ImportImage(ctx context.Context, node Node, archive string) error {
	return run(exec.CommandContext(ctx, "ctr", "--address", node.Socket(), "--namespace", "k8s.io", "images", "import", archive))
}

func (c *Cluster) writeNodeFiles(node Node) error {
	values := map[string]any{
		"Node": node, "Dir": c.Dir, "PauseImage": PauseImage, "DNS": DNSServiceIP, "Pods": PodNetwork, "Pods6": PodNetwork6,
		"CgroupRoot": "/" + c.nodeCgroup(node),
	}
	for name, text := range nodeFiles {
		parsed, err := template.New(name).Option("missingkey=error").Parse(text)
		if err != nil {
			return err
		}
		var content strings.Builder
		if err := parsed.Execute(&content, values); err != nil {
			return err
		}
		path := filepath.Join(node.Dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content.String()), 0o644); err != nil {
			return fmt.Errorf("%s of %s: %w", name, node.Name, err)
		}
	}
	return nil
}
