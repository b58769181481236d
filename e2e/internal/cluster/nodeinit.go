package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// hidden are the folders where a node's programs leave things behind, each an empty one of the node's own.
var hidden = []string{"/run", "/var/lib", "/var/log"}

// NodeInit is the first process of a node: it prepares the mount namespace, says so by making the file ready, and reaps
// what is orphaned until it is killed, with everything else in its process namespace.
func NodeInit(ready string) error {
	if os.Getpid() != 1 {
		return errors.New("node-init has to be the first process of a process namespace")
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	for _, folder := range hidden {
		if strings.HasPrefix(ready, folder+"/") {
			return fmt.Errorf("the cluster's folder may not be under %s", folder)
		}
		if err := unix.Mount("tmpfs", folder, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
			return fmt.Errorf("%s: %w", folder, err)
		}
	}
	if err := os.WriteFile(ready, nil, 0o644); err != nil {
		return err
	}
	orphans := make(chan os.Signal, 1)
	signal.Notify(orphans, syscall.SIGCHLD)
	for range orphans {
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if pid <= 0 || err != nil {
				break
			}
		}
	}
	return nil
}

// startNodeInit starts it in namespaces of its own.
func (c *Cluster) startNodeInit(node *Node) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(c.Logs(), "init-"+node.Name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	ready := filepath.Join(node.Dir, "ready")
	cmd := exec.Command("nsenter", "--net=/run/netns/"+node.Netns, "--", self, "node-init", ready)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	node.Init = cmd.Process.Pid
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	c.Processes = append(c.Processes, Process{
		Name: "init-" + node.Name, Netns: node.Netns, PID: node.Init, Since: startTime(node.Init),
	})
	if err := c.Save(); err != nil {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(ready); err == nil {
			return nil
		}
		select {
		case err := <-ended:
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("first process of %s: %w: %s", node.Name, err, text)
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("first process of %s is not ready", node.Name)
		}
	}
}
