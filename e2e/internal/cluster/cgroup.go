package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const cgroupMount = "/sys/fs/cgroup"

// nodeCgroup is where the pods of a node are, under every hierarchy.
func (c *Cluster) nodeCgroup(node Node) string { return c.Name + "/" + node.Name }

// makeCgroups makes the node's cgroup: the kubelet wants to find its root.
func (c *Cluster) makeCgroups(node Node) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		dir := root
		for _, part := range strings.Split(c.nodeCgroup(node), "/") {
			parent := dir
			dir = filepath.Join(dir, part)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			if err := inherit(parent, dir); err != nil {
				return fmt.Errorf("cgroup %s: %w", dir, err)
			}
		}
	}
	return nil
}

// inherit gives a new group what it does not take from its parent by itself: processors in version 1, where a group
// without them takes no process, and controllers in version 2.
func inherit(parent, dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(parent, name))
		if errors.Is(err, fs.ErrNotExist) || len(strings.TrimSpace(string(value))) == 0 {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), value, 0o644); err != nil {
			return err
		}
	}
	controllers, err := os.ReadFile(filepath.Join(parent, "cgroup.controllers"))
	if err != nil {
		return nil // version 1
	}
	for _, controller := range strings.Fields(string(controllers)) {
		// One that is bound to a hierarchy of version 1 cannot be had here as well.
		_ = os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
	}
	return nil
}

// removeCgroups ends what still runs in the cluster's groups, and removes them.
func removeCgroups(name string) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	var failed []error
	for _, root := range roots {
		dir := filepath.Join(root, name)
		var groups []string
		_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				groups = append(groups, path)
			}
			return nil
		})
		slices.Reverse(groups) // children first
		for _, group := range groups {
			if err := removeCgroup(group); err != nil {
				failed = append(failed, err)
			}
		}
	}
	return errors.Join(failed...)
}

func removeCgroup(group string) error {
	var err error
	for range 50 {
		members, _ := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		for _, member := range strings.Fields(string(members)) {
			if pid, err := strconv.Atoi(member); err == nil && pid > 1 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if err = os.Remove(group); err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("cgroup %s: %w", group, err)
}

// hierarchies are the cgroup trees of the machine: one in version 2, one for each controller in version 1.
func hierarchies() ([]string, error) {
	if _, err := os.Stat(filepath.Join(cgroupMount, "cgroup.controllers")); err == nil {
		return []string{cgroupMount}, nil
	}
	entries, err := os.ReadDir(cgroupMount)
	if err != nil {
		return nil, err
	}
	var roots []string
	for _, entry := range entries {
		// A link is another name for a hierarchy that is in the list already.
		if entry.IsDir() {
			roots = append(roots, filepath.Join(cgroupMount, entry.Name()))
		}
	}
	if len(roots) == 0 {
		return nil, fmt.Errorf("no cgroups are mounted under %s", cgroupMount)
	}
	return roots, nil
}
