// Package kit is what scenarios are written with: objects from text, waiting with a reason, requests from outside the
// cluster, load, and what is kept when something fails.
package kit

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"portcullis.dev/e2e/internal/cluster"
)

// Env is the cluster that the scenarios run against.
type Env struct {
	*cluster.Clients
	Cluster *cluster.Cluster
	// Artefacts is the folder for what is to be read after the run.
	Artefacts string
	// Class is the GatewayClass of the conformance suite.
	Class string
	// Features are those claimed to the suite, those of the class when empty; SuiteTests, a pattern for its tests, all of them when empty.
	Features, SuiteTests string
	// Report is the file to which the suite's report is copied; empty to leave it among the artefacts.
	Report string
	// Seed is of the order of the suite's tests where that is random.
	Seed uint64
	// Samples is how often propagation is measured beside each of these numbers of routes, which ascend.
	Samples int
	Routes  []int
	// Outage is how long the control plane is away.
	Outage time.Duration
	// Repository is the source tree.
	Repository string
}

var load = sync.OnceValues(func() (*Env, error) {
	dir := os.Getenv("PORTCULLIS_E2E_CLUSTER")
	if dir == "" {
		return nil, errors.New("scenarios need a cluster: start them by e2e/run")
	}
	c, err := cluster.Load(dir)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, errors.New("no cluster in " + dir)
	}
	clients, err := c.Clients()
	if err != nil {
		return nil, err
	}
	env := &Env{
		Clients: clients, Cluster: c,
		Artefacts:  os.Getenv("PORTCULLIS_E2E_ARTEFACTS"),
		Class:      os.Getenv("PORTCULLIS_E2E_CLASS"),
		Features:   os.Getenv("PORTCULLIS_E2E_FEATURES"),
		SuiteTests: os.Getenv("PORTCULLIS_E2E_SUITE"),
		Report:     os.Getenv("PORTCULLIS_E2E_REPORT"),
		Repository: os.Getenv("PORTCULLIS_E2E_REPOSITORY"),
	}
	return env, env.numbers()
})

func (e *Env) numbers() (err error) {
	if e.Samples, err = strconv.Atoi(os.Getenv("PORTCULLIS_E2E_SAMPLES")); err != nil || e.Samples < 1 {
		return fmt.Errorf("--samples: a number from 1 on is needed (%v)", err)
	}
	if e.Seed, err = strconv.ParseUint(os.Getenv("PORTCULLIS_E2E_SEED"), 10, 64); err != nil {
		return fmt.Errorf("--seed: %w", err)
	}
	for field := range strings.SplitSeq(os.Getenv("PORTCULLIS_E2E_ROUTES"), ",") {
		count, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil || count < 0 {
			return fmt.Errorf("--routes: %q is not a number of routes", field)
		}
		e.Routes = append(e.Routes, count)
	}
	slices.Sort(e.Routes)
	if e.Outage, err = time.ParseDuration(os.Getenv("PORTCULLIS_E2E_OUTAGE")); err != nil {
		return fmt.Errorf("--outage: %w", err)
	}
	return nil
}
