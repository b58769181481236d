package scenarios

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"portcullis.dev/e2e/internal/conformance"
	"portcullis.dev/e2e/internal/kit"
	"portcullis.dev/e2e/internal/portcullis"
)

// TestLongConformanceShared is the suite against the class whose Gateways share the chart's one Service. The suite is
// written for Gateways with an address each, so base manifests are ours, and some tests are left out.
func TestLongConformanceShared(t *testing.T) {
	s := kit.New(t)
	for _, test := range conformance.OneAddress {
		s.Say("left out: %s: %s", test.Test, test.Reason)
	}
	run := suiteRun{class: "portcullis", args: []string{"--one-address"}, leftOut: conformance.OneAddress}
	// Three tests are about Services of their own.
	const ofOwnServices = 3
	run.passes = everyTest(s) - ofOwnServices - len(conformance.OneAddress)
	results, err := run.run(s)
	s.Must(err)
	run.judge(s, results)
}

// TestLongConformanceRepeated is the suite twice in a row against one installation, each time in another random order: no
// test may depend on what another one has left, here or in the controller.
func TestLongConformanceRepeated(t *testing.T) {
	s := kit.New(t)
	seed := s.Seed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())%1_000_000 + 1
	}
	s.Figure("--seed %d", seed)
	var results []conformance.Results
	for i := range uint64(2) {
		run := inOrderOf(s, seed+i, fmt.Sprintf("-order-%d", seed+i))
		s.Say("order of seed %d", seed+i)
		got, err := run.run(s)
		s.Must(err)
		run.judge(s, got)
		results = append(results, got)
	}
	if different := conformance.Differences(results[0], results[1]); len(different) > 0 {
		t.Errorf("the two runs differ:\n  %s", strings.Join(different, "\n  "))
	}
}

// TestLongConformanceRestarts is the suite while all pods of Portcullis are replaced every minute, as by an upgrade: it
// passes as if nothing had happened.
func TestLongConformanceRestarts(t *testing.T) {
	s := kit.New(t)
	run := suiteRun{class: dedicated, label: "-restarts", passes: everyTest(s)}
	type outcome struct {
		results conformance.Results
		err     error
	}
	ended := make(chan outcome, 1)
	go func() {
		results, err := run.run(s)
		ended <- outcome{results, err}
	}()
	restart := time.NewTicker(time.Minute)
	defer restart.Stop()
	for restarts := 0; ; {
		select {
		case <-restart.C:
			s.Roll(portcullis.Namespace, portcullis.Release)
			restarts++
		case got := <-ended:
			s.Must(got.err)
			s.Figure("%d restarts", restarts)
			run.judge(s, got.results)
			if restarts == 0 {
				t.Error("the suite was over before the first restart")
			}
			return
		}
	}
}

func inOrderOf(s *kit.S, seed uint64, label string) suiteRun {
	return suiteRun{
		class: dedicated, label: label, args: []string{fmt.Sprintf("--order-seed=%d", seed)}, passes: everyTest(s),
	}
}
