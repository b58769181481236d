package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a program of the cluster. It is started detached, so that a kept cluster outlives the run; what is known
// of it is enough to end it and to start it again from another process.
type Process struct {
	Name string `json:"name"`
	// Netns is the network namespace it runs in.
	Netns string `json:"netns"`
	// Init, when it is not 0, is the node's first process, whose mount and process namespaces it runs in.
	Init int      `json:"init"`
	Args []string `json:"args"`
	// PID is that of the program, or of nsenter waiting for it where it has a process namespace.
	PID int `json:"pid"`
	// Since is the start time that the kernel has for it: another process may get the same number later.
	Since string `json:"since"`
}

// start runs a new process, and remembers it.
func (c *Cluster) start(p Process) error {
	if err := c.spawn(&p); err != nil {
		return err
	}
	c.Processes = append(c.Processes, p)
	return c.Save()
}

// Restart starts a process that was stopped.
func (c *Cluster) Restart(name string) error {
	p, err := c.process(name)
	if err != nil {
		return err
	}
	if p.alive() {
		return fmt.Errorf("%s still runs", name)
	}
	if err := c.spawn(p); err != nil {
		return err
	}
	return c.Save()
}

// Stop ends a process with a signal and waits for its end.
func (c *Cluster) Stop(ctx context.Context, name string, signal syscall.Signal) error {
	p, err := c.process(name)
	if err != nil {
		return err
	}
	if p.Init != 0 {
		return fmt.Errorf("%s is ended with its node alone", name)
	}
	if !p.alive() {
		return fmt.Errorf("%s does not run", name)
	}
	if err := syscall.Kill(p.PID, signal); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return Until(ctx, 30*time.Second, "the end of "+name, func(context.Context) error {
		if p.alive() {
			return errors.New("it still runs")
		}
		return nil
	})
}

func (c *Cluster) process(name string) (*Process, error) {
	for i := range c.Processes {
		if c.Processes[i].Name == name {
			return &c.Processes[i], nil
		}
	}
	return nil, fmt.Errorf("no process %s", name)
}

func (c *Cluster) spawn(p *Process) error {
	log, err := os.OpenFile(filepath.Join(c.Logs(), p.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	enter := []string{"--net=/run/netns/" + p.Netns}
	if p.Init != 0 {
		enter = []string{"--target", strconv.Itoa(p.Init), "--net", "--mount", "--pid"}
	}
	cmd := exec.Command("nsenter", append(append(enter, "--"), p.Args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = c.Dir
	// A session of its own: Ctrl-C at the terminal is for the harness, which ends things in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	p.PID, p.Since = cmd.Process.Pid, startTime(cmd.Process.Pid)
	go func() { _ = cmd.Wait() }() // no zombies while this process lives
	return nil
}

// alive tells whether it is still the process that was started.
func (p Process) alive() bool {
	return p.PID != 0 && p.Since != "" && startTime(p.PID) == p.Since
}

// startTime is field 22 of /proc/PID/stat; empty when there is no such process, or only what is left of it.
func startTime(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The program's name is in parentheses and may contain anything.
	_, rest, found := strings.Cut(string(data), ") ")
	if !found {
		return ""
	}
	fields := strings.Fields(rest)
	if len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
}

// Until calls a check until it has no error any more, and says its last one when the time is up.
func Until(ctx context.Context, atMost time.Duration, what string, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s for %s: %w", atMost, what, last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
