// Package cluster brings up a Kubernetes of two nodes inside network namespaces of its own, and takes it down again.
//
//	outside 172.18.0.1 ── bridge ──┬── node1 172.18.0.2   etcd, API server, controller manager, scheduler;
//	  clients, load generators,    │                      containerd, kubelet, kube-proxy; pods 10.244.0.0/24
//	  the agent, the suite         └── node2 172.18.0.3   containerd, kubelet, kube-proxy; pods 10.244.1.0/24
//
// Each node has a network, a mount and a process namespace. Its containers, its mounts and the network namespaces of
// its pods exist in those alone, so that ending the node's first process ends all of it.
package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// The addresses exist only inside the namespaces.
const (
	OutsideIP = "172.18.0.1"
	// LoadSources are further addresses of the outside: each load comes from one of its own.
	LoadSources = "172.18.128.0/17"
	NodeNetwork = "172.18.0.0/16"
	PodNetwork  = "10.244.0.0/16"
	Services    = "10.96.0.0/16"
	// IPv6 beside it: nodes, pods and Services that ask for it. LoadBalancer addresses are IPv4.
	OutsideIP6  = "fd00:172:18::1"
	PodNetwork6 = "fd00:10:244::/48"
	Services6   = "fd00:10:96::/112"

	APIServiceIP = "10.96.0.1"
	DNSServiceIP = "10.96.0.10"
	// LoadBalancers is the range that Services may ask for an address of; what is given unasked comes out of Pool.
	LoadBalancers = "172.19.0.0/16"
	Pool          = "172.19.1.0/24"
)

// Node is one of the two machines.
type Node struct {
	Name    string `json:"name"`
	IP      string `json:"ip"`
	PodCIDR string `json:"podCIDR"`
	// IP6 and PodCIDR6 are the same in IPv6.
	IP6      string `json:"ip6"`
	PodCIDR6 string `json:"podCIDR6"`
	// Netns is the name of its network namespace.
	Netns string `json:"netns"`
	// Dir holds its state and its sockets.
	Dir string `json:"dir"`
	// Init is the process that holds its mount and process namespaces.
	Init int `json:"init"`
}

// Socket is that of the node's containerd.
func (n Node) Socket() string { return filepath.Join(n.Dir, "containerd.sock") }

// Cluster is where everything of a cluster is. It is stored beside its state, for those who attach later.
type Cluster struct {
	Name string `json:"name"`
	// Dir is the cluster's own folder.
	Dir string `json:"dir"`
	// Outside is the name of the clients' network namespace.
	Outside string `json:"outside"`
	Nodes   []Node `json:"nodes"`
	// Binaries are the programs of the parts by name.
	Binaries map[string]string `json:"binaries"`
	// Processes are those started, in this order.
	Processes []Process `json:"processes"`
	Created   time.Time `json:"created"`
	// Kept clusters outlive the run that made them.
	Kept bool `json:"kept"`
	// Inotify is what fs.inotify.max_user_instances was before; 0 when it was left alone.
	Inotify int `json:"inotify"`
}

// New describes a cluster that is not up yet.
func New(name, dir string, binaries map[string]string) *Cluster {
	c := &Cluster{Name: name, Dir: dir, Outside: name + "-outside", Binaries: binaries, Created: time.Now()}
	for i, name := range []string{"node1", "node2"} {
		c.Nodes = append(c.Nodes, Node{
			Name:     name,
			IP:       fmt.Sprintf("172.18.0.%d", i+2),
			PodCIDR:  fmt.Sprintf("10.244.%d.0/24", i),
			IP6:      fmt.Sprintf("fd00:172:18::%d", i+2),
			PodCIDR6: fmt.Sprintf("fd00:10:244:%d::/64", i),
			Netns:    c.Name + "-" + name,
			Dir:      filepath.Join(dir, name),
		})
	}
	return c
}

// Load reads the cluster that a folder describes; nil when there is none.
func Load(dir string) (*Cluster, error) {
	data, err := os.ReadFile(filepath.Join(dir, "cluster.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c := &Cluster{}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "cluster.json"), err)
	}
	return c, nil
}

// Save stores the description. A run that is killed right after has left a trace of everything it made.
func (c *Cluster) Save() error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(c.Dir, "cluster.json")
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Path is a place in the cluster's own folder.
func (c *Cluster) Path(elements ...string) string {
	return filepath.Join(append([]string{c.Dir}, elements...)...)
}

// Kubeconfig is the administrator's.
func (c *Cluster) Kubeconfig() string { return c.Path("admin.kubeconfig") }

// Logs is where the processes' output is.
func (c *Cluster) Logs() string { return c.Path("logs") }

// Node finds a node by name.
func (c *Cluster) Node(name string) (*Node, error) {
	for i := range c.Nodes {
		if c.Nodes[i].Name == name {
			return &c.Nodes[i], nil
		}
	}
	return nil, fmt.Errorf("no node %s", name)
}
