// e2e brings up a cluster, installs Portcullis in it and runs the scenarios. README.md says how to use it.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"portcullis.dev/e2e/internal/agent"
	"portcullis.dev/e2e/internal/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	var err error
	switch command(os.Args) {
	case "node-init":
		err = cluster.NodeInit(os.Args[2])
	case "agent":
		err = runAgent(ctx, os.Args[2])
	default:
		err = runCommand(ctx, os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		stop()
		os.Exit(1)
	}
}

// command is the program's own inner one, if it is one of those.
func command(args []string) string {
	if len(args) == 3 {
		return args[1]
	}
	return ""
}

func runAgent(ctx context.Context, dir string) error {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	c, err := cluster.Load(dir)
	if err != nil {
		return err
	}
	if c == nil {
		return errors.New("no cluster in " + filepath.Clean(dir))
	}
	return agent.Run(ctx, c)
}
