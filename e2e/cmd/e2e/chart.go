package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"portcullis.dev/e2e/internal/parts"
	"portcullis.dev/e2e/internal/stage"
)

// chartFilter is what a --filter begins with that is for the chart's own tests: Chart for all of them, Chart/X for those
// that match X. They need helm and no cluster.
const chartFilter = "Chart"

func onlyChart(filter string) bool {
	return filter == chartFilter || strings.HasPrefix(filter, chartFilter+"/")
}

// chartAlone runs the chart's tests without a cluster.
func chartAlone(ctx context.Context, o options) error {
	p, err := printer(o)
	if err != nil {
		return err
	}
	defer p.Summary()
	b := &built{binaries: map[string]string{}}
	if err := b.part(ctx, p, store(o), parts.Helm); err != nil {
		return err
	}
	return chart(ctx, p, o, b.binaries["helm"])
}

// chart runs the tests of e2e/chart, whose output is kept.
func chart(ctx context.Context, p *stage.Printer, o options, helm string) error {
	return p.Run("tests of the chart", func() error {
		args := []string{"test", "-count=1"}
		if _, pattern, found := strings.Cut(o.filter, "/"); found {
			args = append(args, "-run="+pattern)
		}
		cmd := exec.Command("go", append(args, "./...")...)
		cmd.Dir = filepath.Join(o.repository, "e2e", "chart")
		// A module of its own.
		cmd.Env = append(os.Environ(), "HELM="+helm, "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
		return p.Command(ctx, "chart", cmd)
	})
}
