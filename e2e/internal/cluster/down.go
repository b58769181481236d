package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Down ends everything of a cluster and removes it, its folder included. It works from what the folder says and from
// the names alone, so it also cleans up after a run that was killed; with nothing there it does nothing.
func Down(ctx context.Context, name, dir string) error {
	c, err := Load(dir)
	if err != nil || c == nil {
		c = New(name, dir, nil)
	}
	pids := c.running()
	ended := endAll(ctx, pids)
	removed := c.removeNetns(ctx)
	groups := removeCgroups(name)
	mounts := unmountBelow(dir)
	err = errors.Join(ended, removed, groups, mounts)
	if c.Inotify != 0 {
		err = errors.Join(err, os.WriteFile(inotifyInstances, []byte(strconv.Itoa(c.Inotify)), 0o644))
	}
	if err != nil {
		return fmt.Errorf("taking the cluster %s down: %w", name, err)
	}
	return os.RemoveAll(dir)
}

// running are the processes that are left: those noted, and whatever is in the cluster's network namespaces.
func (c *Cluster) running() []int {
	var pids []int
	for _, p := range slices.Backward(c.Processes) {
		if p.alive() {
			pids = append(pids, p.PID)
		}
	}
	for _, netns := range c.netns() {
		out, err := exec.Command("ip", "netns", "pids", netns).Output()
		if err != nil {
			continue // there is no such namespace
		}
		for _, field := range strings.Fields(string(out)) {
			if pid, err := strconv.Atoi(field); err == nil && pid != os.Getpid() && !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func (c *Cluster) netns() []string {
	names := []string{c.Outside}
	for _, node := range c.Nodes {
		names = append(names, node.Netns)
	}
	return names
}

// endAll kills outright: nothing of the cluster is worth an orderly end, and a node's first process takes all of the
// node with it.
func endAll(ctx context.Context, pids []int) error {
	since := map[int]string{}
	for _, pid := range pids {
		since[pid] = startTime(pid)
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return Until(ctx, 20*time.Second, "the end of its processes", func(context.Context) error {
		for pid, began := range since {
			if began != "" && startTime(pid) == began {
				return fmt.Errorf("process %d still runs", pid)
			}
		}
		return nil
	})
}

func (c *Cluster) removeNetns(ctx context.Context) error {
	var failed []error
	for _, netns := range c.netns() {
		if _, err := os.Stat("/run/netns/" + netns); err == nil {
			failed = append(failed, ip(ctx, "netns del "+netns))
		}
	}
	return errors.Join(failed...)
}

// unmountBelow lets go of mounts below a folder. The nodes' are in their own namespaces, so there are none unless a
// node's first process died before it had made its mounts private.
func unmountBelow(dir string) error {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	var failed []error
	for _, line := range slices.Backward(strings.Split(string(data), "\n")) {
		fields := strings.Fields(line)
		if len(fields) > 1 && strings.HasPrefix(fields[1], filepath.Clean(dir)+"/") {
			failed = append(failed, syscall.Unmount(fields[1], syscall.MNT_DETACH))
		}
	}
	return errors.Join(failed...)
}
