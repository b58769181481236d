package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// rejectUnused answers at once for LoadBalancer addresses that nobody has: else a packet circles between the namespaces
// until its TTL ends, and the client waits for seconds.
const rejectUnused = `table inet pool {
  chain forward {
    type filter hook forward priority 10; policy accept;
    oifname lb0 meta l4proto tcp reject with tcp reset
    oifname lb0 reject with icmpx type port-unreachable
  }
}
`

// network makes the three namespaces and what joins them.
func (c *Cluster) network(ctx context.Context) error {
	outside := []string{
		"link set lo up",
		"link add br0 type bridge",
		"link set br0 up",
		"addr add " + OutsideIP + "/16 dev br0",
		"addr add " + OutsideIP6 + "/64 dev br0 nodad",
		"route add local " + LoadSources + " dev lo",
	}
	if err := ip(ctx, "netns add "+c.Outside); err != nil {
		return err
	}
	if err := ipIn(ctx, c.Outside, outside...); err != nil {
		return err
	}
	for i, node := range c.Nodes {
		if err := c.nodeNetwork(ctx, i, node); err != nil {
			return fmt.Errorf("network of %s: %w", node.Name, err)
		}
	}
	first := c.Nodes[0]
	for _, network := range []string{LoadBalancers, Services} {
		if err := ipIn(ctx, c.Outside, "route add "+network+" via "+first.IP); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) nodeNetwork(ctx context.Context, index int, node Node) error {
	port := fmt.Sprintf("port%d", index)
	if err := ip(ctx, "netns add "+node.Netns); err != nil {
		return err
	}
	if err := ip(ctx, fmt.Sprintf("link add eth0 netns %s type veth peer name %s netns %s", node.Netns, port, c.Outside)); err != nil {
		return err
	}
	if err := ipIn(ctx, c.Outside,
		"link set "+port+" master br0",
		"link set "+port+" up",
		"route add "+node.PodCIDR+" via "+node.IP,
		"route add "+node.PodCIDR6+" via "+node.IP6,
	); err != nil {
		return err
	}
	commands := []string{
		"link set lo up",
		"addr add " + node.IP + "/16 dev eth0",
		"addr add " + node.IP6 + "/64 dev eth0 nodad",
		"link set eth0 up",
		"route add default via " + OutsideIP,
		"route add default via " + OutsideIP6,
		// A bridge without ports stands for the pool: there may be no dummy links in the kernel.
		"link add lb0 type bridge",
		"link set lb0 up",
		"route add " + LoadBalancers + " dev lb0",
	}
	for _, other := range c.Nodes {
		if other.Name != node.Name {
			commands = append(commands, "route add "+other.PodCIDR+" via "+other.IP, "route add "+other.PodCIDR6+" via "+other.IP6)
		}
	}
	if err := ipIn(ctx, node.Netns, commands...); err != nil {
		return err
	}
	nft := inNetns(ctx, node.Netns, "nft", "-f", "-")
	nft.Stdin = strings.NewReader(rejectUnused)
	if err := run(nft); err != nil {
		return err
	}
	six := []string{"net.ipv6.conf.all.forwarding=1", "net.bridge.bridge-nf-call-ip6tables=1"}
	if err := run(inNetns(ctx, node.Netns, append([]string{"sysctl", "-qw"}, six...)...)); err != nil {
		return err
	}
	// bridge-nf-call: a Service's answer from a pod on the same bridge has to pass through NAT again.
	if err := run(inNetns(ctx, node.Netns, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.bridge.bridge-nf-call-iptables=1")); err != nil {
		return err
	}
	// One address stands for all clients, and comes to the same port again soon: NAT would lead it to the pod that it had
	// before, which may be no more. Left as it is where the kernel has no such setting.
	return run(inNetns(ctx, node.Netns, "sysctl", "-qew",
		"net.netfilter.nf_conntrack_tcp_timeout_close=1", "net.netfilter.nf_conntrack_tcp_timeout_time_wait=1"))
}

// inNetns is a command in a namespace. nsenter, since `ip netns exec` mounts /sys anew and hides the cgroups.
func inNetns(ctx context.Context, netns string, command ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + netns, "--"}, command...)...)
}

// InOutside is a command in the clients' namespace.
func (c *Cluster) InOutside(ctx context.Context, command ...string) *exec.Cmd {
	return inNetns(ctx, c.Outside, command...)
}

// InNode is a command in the network namespace of a node.
func (c *Cluster) InNode(ctx context.Context, node Node, command ...string) *exec.Cmd {
	return inNetns(ctx, node.Netns, command...)
}

func ip(ctx context.Context, command string) error {
	return run(exec.CommandContext(ctx, "ip", strings.Fields(command)...))
}

func ipIn(ctx context.Context, netns string, commands ...string) error {
	for _, command := range commands {
		if err := ip(ctx, "-n "+netns+" "+command); err != nil {
			return err
		}
	}
	return nil
}

func run(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
