package scenarios

import (
	"os"
	"testing"

	"portcullis.dev/e2e/internal/kit"
)

// dedicated is the class of Gateways with an address each, for which the suite is written.
const dedicated = "portcullis-dedicated"

// TestConformance is the Gateway API's own suite. Its report is among the artefacts; with
// --write-report it is also copied to docs/conformance.
func TestConformance(t *testing.T) {
	s := kit.New(t)
	run := suiteRun{class: s.Class}
	if s.Class == dedicated {
		run.passes = everyTest(s)
	}
	before, err := s.Forwarded()
	s.Must(err)
	results, err := run.run(s)
	s.Must(err)
	run.judge(s, results)
	after, err := s.Forwarded()
	s.Must(err)
	s.Figure("%v", after.Since(before))
	if s.SuiteTests != "" {
		return
	}
	s.Must(whole(run.file(s, ".yaml")))
	if s.Report != "" && !t.Failed() {
		report, err := os.ReadFile(run.file(s, ".yaml"))
		s.Must(err)
		s.Must(os.WriteFile(s.Report, report, 0o644))
	}
}

// everyTest is how many tests there are in release 1.7.0 of the suite for all that class portcullis-dedicated claims: with
// fewer, something was not claimed that is served.
func everyTest(s *kit.S) int {
	s.T.Helper()
	class, err := s.AcceptedClass(dedicated)
	s.Must(err)
	count := 146
	for _, feature := range class.Status.SupportedFeatures {
		// Of the experimental channel.
		if feature.Name == "HTTPRouteDestinationPortMatching" {
			count++
		}
	}
	return count
}
