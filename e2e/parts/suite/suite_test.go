// Package suite is the Gateway API's own conformance suite as one test binary, with what it has no flag for: an order of
// its tests, a result for each of them, and base manifests for Gateways that share one address.
package suite

import (
	"flag"
	"math/rand/v2"
	"slices"
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/tests"
)

var (
	seed = flag.Uint64("order-seed", 0, "run the tests in the random order of this seed; in the suite's own when 0")
	one  = flag.Bool("one-address", false, "all Gateways have one address: use base manifests for it")
	path = flag.String("results", "", "file for a line about each test: what became of it, and its name")
)

func TestConformance(t *testing.T) {
	options := conformance.DefaultOptions(t)
	list := slices.Clone(tests.ConformanceTests)
	if *seed != 0 {
		// -test.shuffle is for tests of Go, and these are subtests of one. They are in order before, so that a seed
		// means the same order in every build.
		slices.SortFunc(list, byName)
		random := rand.New(rand.NewPCG(*seed, *seed))
		random.Shuffle(len(list), func(i, k int) { list[i], list[k] = list[k], list[i] })
		t.Logf("order of seed %d", *seed)
	}
	if *path != "" {
		options.Hook = (&results{path: *path}).record
	}
	if *one {
		layout, err := newLayout()
		if err != nil {
			t.Fatal(err)
		}
		options.DisableParallelTests = true
		options.BaseManifests = layout.base()
		options.ManifestFS = append(options.ManifestFS, layout.files)
		for i := range list {
			if list[i], err = layout.prepared(list[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	// RunConformanceWithOptions has no other way to be given tests.
	tests.ConformanceTests = list
	conformance.RunConformanceWithOptions(t, options)
}
