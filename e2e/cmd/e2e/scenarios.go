package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"

	"portcullis.dev/e2e/internal/cluster"
	"portcullis.dev/e2e/internal/stage"
)

// long matches the names of the scenarios that are run with --long alone.
const long = "^TestLong"

// scenarios runs the test program in the outside namespace, where clients of the cluster are.
func scenarios(ctx context.Context, p *stage.Printer, o options, c *cluster.Cluster) error {
	if o.filter == "NONE" {
		return nil
	}
	return p.Run("scenarios", func() error {
		args := []string{sibling("scenarios.test"), "-test.count=1", "-test.timeout=90m", "-test.failfast=false"}
		if o.long {
			args = append(args, "-test.timeout=240m")
		} else {
			args = append(args, "-test.skip="+long)
		}
		if o.filter != "" {
			args = append(args, "-test.run="+o.filter)
		}
		cmd := c.InOutside(context.WithoutCancel(ctx), args...)
		cmd.Dir = filepath.Join(o.repository, "e2e", "scenarios")
		cmd.Env = append(os.Environ(),
			"PORTCULLIS_E2E_CLUSTER="+c.Dir,
			"PORTCULLIS_E2E_ARTEFACTS="+o.artefacts,
			"PORTCULLIS_E2E_CLASS="+o.class,
			"PORTCULLIS_E2E_FEATURES="+o.features,
			"PORTCULLIS_E2E_SUITE="+o.suite,
			"PORTCULLIS_E2E_REPORT="+o.report(),
			"PORTCULLIS_E2E_SEED="+strconv.FormatUint(o.seed, 10),
			"PORTCULLIS_E2E_SAMPLES="+o.samples,
			"PORTCULLIS_E2E_ROUTES="+o.routes,
			"PORTCULLIS_E2E_OUTAGE="+o.outage.String(),
		)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		return stage.RunInGroup(ctx, cmd)
	})
}
