// Package portcullis builds our own image and installs our own chart, as a user would.
package portcullis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"portcullis.dev/e2e/internal/cluster"
	"portcullis.dev/e2e/internal/image"
	"portcullis.dev/e2e/internal/stage"
)

const (
	// Release and Namespace are the names that it is installed under.
	Release   = "portcullis"
	Namespace = "portcullis"
	// Repository is the chart's own, so that the values of the run say as little as possible.
	Repository = "ghcr.io/portcullis/portcullis"
	// Tag is that of the image under test. The same image has OtherTag too, for upgrades.
	Tag      = "e2e"
	OtherTag = "e2e-other"

	// AdminPort is the chart's.
	AdminPort = 9080
	// PortOffset is the chart's, too: what pods bind is a listener's port and this.
	PortOffset = 8000

	// mostBytes is the largest size of an image of this profile: a released binary is about 40 % smaller.
	mostBytes = 48 << 20

	target = "x86_64-unknown-linux-gnu"
	// profile is of Cargo.toml: without what makes a release build slow.
	profile      = "e2e"
	certificates = "/etc/ssl/certs/ca-certificates.crt"
)

// Build makes the binary as the Containerfile does, but for the optimisation of the whole program: static, so that nothing else
// has to be in the image.
func Build(ctx context.Context, p *stage.Printer, repository string) (string, error) {
	cmd := exec.Command("cargo", "build", "--profile", profile, "--locked", "--target", target,
		"-p", "portcullis", "--bin", "portcullis")
	cmd.Dir = repository
	cmd.Env = append(os.Environ(),
		"CARGO_TERM_COLOR=never",
		"CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS=-C target-feature=+crt-static",
	)
	if err := p.Command(ctx, "build-portcullis", cmd); err != nil {
		return "", err
	}
	folder := os.Getenv("CARGO_TARGET_DIR")
	if folder == "" {
		folder = filepath.Join(repository, "target")
	}
	return filepath.Join(folder, target, profile, "portcullis"), nil
}

// Image packs the binary as the Containerfile does, and refuses one that has grown too large.
func Image(p *stage.Printer, binary, archive string) error {
	size, err := image.Image{
		Tags:       []string{Repository + ":" + Tag, Repository + ":" + OtherTag},
		Files:      map[string]string{"/portcullis": binary, certificates: certificates},
		Entrypoint: []string{"/portcullis"},
		Cmd:        []string{"run", "--admin", "0.0.0.0:9080", "--port-offset", "8000"},
		User:       "65532:65532",
	}.Write(archive)
	if err != nil {
		return err
	}
	p.Say("   image: %.1f MB", float64(size)/1e6)
	if size > mostBytes {
		return fmt.Errorf("the image has %d bytes, more than %d", size, mostBytes)
	}
	return nil
}

// Chart is the folder of our chart.
func Chart(repository string) string { return filepath.Join(repository, "charts", "portcullis") }

// Values are the arguments that every install and upgrade of the run has.
func Values() []string {
	return []string{
		"--set", "image.repository=" + Repository,
		"--set", "image.tag=" + Tag,
		"--set", "image.pullPolicy=Never",
		// The conformance suite is run with Gateways that have addresses of their own.
		"--set", "dedicated.enabled=true",
		// The nodes have two processors between them.
		"--set", "resources.requests.cpu=10m",
	}
}

// Helm is a helm command against the cluster.
func Helm(ctx context.Context, c *cluster.Cluster, args ...string) *exec.Cmd {
	cmd := c.InOutside(ctx, append([]string{c.Binaries["helm"], "--namespace", Namespace}, args...)...)
	home := c.Path("helm")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(),
		"HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	return cmd
}

// Install installs the chart and waits until its pods are ready.
func Install(ctx context.Context, p *stage.Printer, c *cluster.Cluster, repository string) error {
	return helm(ctx, p, c, append([]string{"install", Release, Chart(repository), "--create-namespace"}, Values()...))
}

// Reinstall brings a cluster to the chart and the image as they are now, by new pods.
func Reinstall(ctx context.Context, p *stage.Printer, c *cluster.Cluster, repository string) error {
	values := append(Values(), "--set-string", "podAnnotations.installed="+time.Now().Format("150405"))
	return helm(ctx, p, c, append([]string{"upgrade", "--install", Release, Chart(repository), "--create-namespace"}, values...))
}

func helm(ctx context.Context, p *stage.Printer, c *cluster.Cluster, args []string) error {
	if err := p.Command(ctx, "helm", Helm(ctx, c, append(args, "--wait", "--timeout", "2m")...)); err != nil {
		return errors.Join(err, explain(ctx, c))
	}
	return nil
}

// explain says what the release's pods say about themselves.
func explain(ctx context.Context, c *cluster.Cluster) error {
	ctx = context.WithoutCancel(ctx)
	var text string
	for _, command := range [][]string{
		{"get", "all", "-o", "wide"},
		{"get", "events", "--sort-by", ".lastTimestamp"},
		{"logs", "--selector", "app.kubernetes.io/name=portcullis", "--tail", "30", "--prefix"},
	} {
		kubectl := append([]string{c.Binaries["kubectl"], "--kubeconfig", c.Kubeconfig(), "--namespace", Namespace}, command...)
		out, _ := c.InOutside(ctx, kubectl...).CombinedOutput()
		text += string(out)
	}
	return errors.New(text)
}
