package suite

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/gateway-api/conformance/utils/suite"
)

// results writes what became of each test. Tests that run at the same time end at the same time.
type results struct {
	path string
	lock sync.Mutex
}

func byName(a, b suite.ConformanceTest) int { return strings.Compare(a.ShortName, b.ShortName) }

// record is called at the end of each test, those that were skipped included.
func (r *results) record(t *testing.T, test suite.ConformanceTest, s *suite.ConformanceTestSuite) {
	r.lock.Lock()
	defer r.lock.Unlock()
	file, err := os.OpenFile(r.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		t.Errorf("the result cannot be kept: %v", err)
		return
	}
	defer file.Close()
	if _, err := fmt.Fprintln(file, verdict(t, test, s), test.ShortName); err != nil {
		t.Errorf("the result cannot be kept: %v", err)
	}
}

// verdict tells the three reasons for which a test is skipped apart. The words are read by the scenarios.
func verdict(t *testing.T, test suite.ConformanceTest, s *suite.ConformanceTestSuite) string {
	switch {
	case t.Failed():
		return "failed"
	case !t.Skipped():
		return "passed"
	case !s.SupportedFeatures.HasAll(test.Features...):
		return "unclaimed"
	case s.SkipTests.Has(test.ShortName):
		return "left-out"
	default:
		return "not-applicable"
	}
}
