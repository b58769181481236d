// Package stage prints what is being done and how long it took, and keeps the output of commands in files.
package stage

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Printer numbers nothing and colours nothing: its lines are read in CI logs.
type Printer struct {
	out   io.Writer
	logs  string
	times []timed
}

type timed struct {
	name string
	took time.Duration
}

// New makes a printer; the output of commands goes to files in the folder logs.
func New(out io.Writer, logs string) (*Printer, error) {
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return nil, err
	}
	return &Printer{out: out, logs: logs}, nil
}

// Run does one stage.
func (p *Printer) Run(name string, do func() error) error {
	p.Say("== %s", name)
	begin := time.Now()
	err := do()
	took := time.Since(begin)
	p.times = append(p.times, timed{name, took})
	if err != nil {
		p.Say("== %s: FAILED after %s", name, seconds(took))
		return fmt.Errorf("%s: %w", name, err)
	}
	p.Say("== %s: %s", name, seconds(took))
	return nil
}

// Say prints a line.
func (p *Printer) Say(format string, args ...any) {
	fmt.Fprintf(p.out, format+"\n", args...)
}

// Summary prints every stage's time again, where the reader of a long log looks: at its end.
func (p *Printer) Summary() {
	p.Say("\nstages:")
	var sum time.Duration
	for _, t := range p.times {
		p.Say("  %8s  %s", seconds(t.took), t.name)
		sum += t.took
	}
	p.Say("  %8s  together", seconds(sum))
}

func seconds(d time.Duration) string {
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// Command runs a command whose output goes to logs/<name>.log; an error carries the end of it.
func (p *Printer) Command(ctx context.Context, name string, cmd *exec.Cmd) error {
	path := filepath.Join(p.logs, name+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Fprintf(log, "$ %s\n", strings.Join(cmd.Args, " "))
	begin, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := RunInGroup(ctx, cmd); err != nil {
		return fmt.Errorf("%s: %w (all of it in %s)\n%s", strings.Join(cmd.Args, " "), err, path, tail(path, begin))
	}
	return nil
}

// RunInGroup runs a command as a process group of its own, so that nothing of it is left when the context ends.
func RunInGroup(ctx context.Context, cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-done
	}
	return ctx.Err()
}

// tail is the last part of what was written to a file after an offset.
func tail(path string, offset int64) string {
	const most = 4000
	data, err := os.ReadFile(path)
	if err != nil || int64(len(data)) <= offset {
		return ""
	}
	data = data[offset:]
	if len(data) > most {
		data = data[len(data)-most:]
	}
	return string(data)
}
