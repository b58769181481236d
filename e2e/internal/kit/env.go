// Package kit is what scenarios are written with: objects from text, waiting with a reason, requests from outside the
// cluster, load, and what is kept when something fails.
package kit

import (
	"errors"
	"os"
	"sync"

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
	return &Env{
		Clients: clients, Cluster: c,
		Artefacts:  os.Getenv("PORTCULLIS_E2E_ARTEFACTS"),
		Class:      os.Getenv("PORTCULLIS_E2E_CLASS"),
		Features:   os.Getenv("PORTCULLIS_E2E_FEATURES"),
		SuiteTests: os.Getenv("PORTCULLIS_E2E_SUITE"),
		Repository: os.Getenv("PORTCULLIS_E2E_REPOSITORY"),
	}, nil
})
