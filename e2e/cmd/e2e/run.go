package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"portcullis.dev/e2e/internal/cluster"
	"portcullis.dev/e2e/internal/portcullis"
	"portcullis.dev/e2e/internal/stage"
)

func runCommand(ctx context.Context, args []string) error {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if o.list {
		return listScenarios(ctx)
	}
	if onlyChart(o.filter) && !o.down {
		return chartAlone(ctx, o)
	}
	if os.Geteuid() != 0 {
		return errors.New("namespaces and containers need root")
	}
	release, err := lock(filepath.Join(o.cache, o.name+".lock"))
	if err != nil {
		return err
	}
	defer release()
	have, err := cluster.Load(o.clusterDir())
	if err != nil {
		return err
	}
	switch {
	case o.down:
		return cluster.Down(ctx, o.name, o.clusterDir())
	case o.attach:
		return attach(ctx, o, have)
	case have != nil && have.Kept:
		return fmt.Errorf("the cluster %s is kept since %s: --attach to use it, --down to take it down",
			o.name, have.Created.Format(time.TimeOnly))
	}
	if err := whole(ctx, o); err != nil || !o.long || o.channel == experimental || o.keep {
		return err
	}
	return whole(ctx, o.inExperimentalChannel())
}

func attach(ctx context.Context, o options, c *cluster.Cluster) error {
	if c == nil {
		return errors.New("no cluster is kept: e2e/run --keep makes one")
	}
	p, err := printer(o)
	if err != nil {
		return err
	}
	defer p.Summary()
	if o.reinstall {
		if err := p.Run("reinstall", func() error { return reinstall(ctx, p, o, c) }); err != nil {
			return err
		}
	}
	return scenarios(ctx, p, o, c)
}

func reinstall(ctx context.Context, p *stage.Printer, o options, c *cluster.Cluster) error {
	b := &built{}
	if err := b.portcullis(ctx, p, o); err != nil {
		return err
	}
	for _, node := range c.Nodes {
		for _, archive := range b.images {
			if err := c.ImportImage(ctx, node, archive); err != nil {
				return err
			}
		}
	}
	return portcullis.Reinstall(ctx, p, c, o.repository)
}

// whole is a run from nothing to nothing: whatever happens, the cluster is gone at its end unless it is to be kept.
func whole(ctx context.Context, o options) (err error) {
	if err := os.RemoveAll(o.artefacts); err != nil {
		return err
	}
	p, err := printer(o)
	if err != nil {
		return err
	}
	defer p.Summary()
	if err := p.Run("what a run before this one may have left", func() error {
		return cluster.Down(ctx, o.name, o.clusterDir())
	}); err != nil {
		return err
	}
	built, err := build(ctx, p, o)
	if err != nil {
		return err
	}
	if o.filter == "" && !o.bare {
		if err := chart(ctx, p, o, built.binaries["helm"]); err != nil {
			return err
		}
	}
	c := cluster.New(o.name, o.clusterDir(), built.binaries)
	defer func() {
		panicked := recover()
		if ended := end(ctx, p, o, c, err == nil && panicked == nil); ended != nil {
			err = errors.Join(err, ended)
		}
		if panicked != nil {
			panic(panicked)
		}
	}()
	if err := c.Up(ctx, p, cluster.UpOptions{Images: built.images, CRDs: built.crds, Agent: built.agent}); err != nil {
		return err
	}
	if o.bare {
		return nil
	}
	if err := p.Run("helm install", func() error { return portcullis.Install(ctx, p, c, o.repository) }); err != nil {
		return err
	}
	return scenarios(ctx, p, o, c)
}

// end keeps the processes' logs, and takes the cluster down.
func end(ctx context.Context, p *stage.Printer, o options, c *cluster.Cluster, well bool) error {
	ctx = context.WithoutCancel(ctx) // an interrupted run cleans up as well
	if o.keep && ctx.Err() == nil {
		// As it is stored: scenarios have started processes again.
		if now, err := cluster.Load(o.clusterDir()); err == nil && now != nil {
			c = now
		}
		c.Kept = true
		p.Say("\nkept. To look around: %s get pods -A\nor: nsenter --net=/run/netns/%s env KUBECONFIG=%s bash\nlogs: %s\nend it with e2e/run --down",
			c.Path("kubectl"), c.Outside, c.Kubeconfig(), c.Logs())
		return c.Save()
	}
	saved := os.CopyFS(filepath.Join(o.artefacts, "logs"), os.DirFS(c.Logs()))
	if !well {
		p.Say("   logs: %s", filepath.Join(o.artefacts, "logs"))
	}
	return errors.Join(saved, p.Run("down", func() error { return cluster.Down(ctx, o.name, o.clusterDir()) }))
}

func printer(o options) (*stage.Printer, error) {
	return stage.New(os.Stdout, filepath.Join(o.artefacts, "commands"))
}

// lock keeps two runs from using one cluster.
func lock(path string) (release func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("another run uses this cluster (%s): %w", path, err)
	}
	return func() { file.Close() }, nil
}

func listScenarios(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, sibling("scenarios.test"), "-test.list", ".*")
	cmd.Stderr = os.Stderr
	names, err := cmd.Output()
	if err != nil {
		return err
	}
	onlyLong := regexp.MustCompile(long)
	for name := range strings.Lines(string(names)) {
		name = strings.TrimSuffix(name, "\n")
		if onlyLong.MatchString(name) {
			name += "   (with --long)"
		}
		fmt.Println(name)
	}
	return nil
}

// sibling is a program that was built beside this one.
func sibling(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(self), name)
}
