package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// options is the command line, and where things are.
type options struct {
	keep, attach, down, list, bare, reinstall, long, writeReport bool

	filter, name, artefacts, binary string
	// For the conformance suite: the class, what is claimed, and which of its tests.
	class, features, suite string
	// seed is of the order of the suite's tests where that is random.
	seed uint64
	// channel is that of the Gateway API's CRDs.
	channel string
	// For the propagation scenario.
	samples, routes string
	// For the scenario without a control plane.
	outage time.Duration

	// repository is the source tree; cache, what outlives a run.
	repository, cache string
}

const usage = `e2e/run [flags]: a Kubernetes of two nodes with Portcullis installed, and the scenarios against it

  e2e/run                        everything, and nothing is left
  e2e/run --long                 also what takes too long for each change
  e2e/run --channel experimental the same with the Gateway API's experimental CRDs
  e2e/run --keep --filter NONE   bring it up and leave it up
  e2e/run --attach --filter X    run scenarios whose name matches X against the one that was kept
  e2e/run --down                 take it down

`

// dedicated is the class that the suite is written for: its Gateways have an address each.
const dedicated = "portcullis-dedicated"

// The channels of the Gateway API.
const (
	standard     = "standard"
	experimental = "experimental"
)

var validName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,20}$`)

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("e2e/run", flag.ContinueOnError)
	flags.BoolVar(&o.keep, "keep", false, "leave the cluster up")
	flags.BoolVar(&o.attach, "attach", false, "use the cluster that was kept")
	flags.BoolVar(&o.reinstall, "reinstall", false, "with --attach: build Portcullis, and upgrade to it first")
	flags.BoolVar(&o.down, "down", false, "take a kept cluster down, and do nothing else")
	flags.BoolVar(&o.list, "list", false, "print the scenarios' names, and do nothing else")
	flags.BoolVar(&o.bare, "bare", false, "the cluster alone: Portcullis is neither built nor installed, and no scenario is run")
	flags.BoolVar(&o.long, "long", false, "also run the scenarios that take too long for each change, TestLong...")
	flags.StringVar(&o.filter, "filter", "", "run the scenarios that match this `regexp` alone; NONE for none")
	flags.StringVar(&o.class, "class", dedicated, "GatewayClass that the conformance suite is run with")
	flags.StringVar(&o.features, "features", "", "what is claimed to the conformance suite; what the class claims when empty")
	flags.StringVar(&o.suite, "suite", "", "run the tests of the conformance suite that match this `regexp` alone")
	flags.Uint64Var(&o.seed, "seed", 0, "of the random order in TestLongConformanceRepeated; one is chosen, and printed, when 0")
	flags.StringVar(&o.channel, "channel", standard, "channel of the Gateway API's CRDs: "+standard+" or "+experimental)
	flags.BoolVar(&o.writeReport, "write-report", false, "copy the conformance report of the channel to docs/conformance, if every test has passed")
	flags.StringVar(&o.name, "name", "pce2e", "prefix of namespaces and cgroups; another one for a second cluster on this machine")
	flags.StringVar(&o.artefacts, "artefacts", "", "folder for logs and reports (default <cache>/artefacts)")
	flags.StringVar(&o.binary, "binary", "", "a static binary of Portcullis to use instead of building one")
	flags.StringVar(&o.samples, "samples", "20", "how often propagation is measured at each number of routes")
	flags.StringVar(&o.routes, "routes", "0,500,5000", "the numbers of routes that propagation is measured with, by commas")
	flags.DurationVar(&o.outage, "outage", time.Minute, "how long TestControlPlaneGone has no API server and no etcd")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("what is %q? --help says what there is", flags.Arg(0))
	}
	if o.channel != standard && o.channel != experimental {
		return o, fmt.Errorf("--channel %q: %s or %s", o.channel, standard, experimental)
	}
	if o.channel != standard && o.attach {
		return o, errors.New("--channel is for a new cluster: the CRDs of a kept one stay as they are")
	}
	if !validName.MatchString(o.name) {
		return o, fmt.Errorf("--name %q: small letters, digits and dashes, 21 at most", o.name)
	}
	if o.attach && (o.keep || o.down) || o.keep && o.down {
		return o, errors.New("--keep, --attach and --down exclude each other")
	}
	if o.reinstall && !o.attach {
		return o, errors.New("--reinstall goes with --attach")
	}
	if o.writeReport && (o.suite != "" || o.features != "" || o.class != dedicated || o.attach) {
		return o, errors.New("--write-report is for a whole run of the suite in a new cluster, against class " + dedicated)
	}
	if !o.long && strings.Contains(o.filter, "Long") {
		return o, fmt.Errorf("--filter %s: the scenarios TestLong... are run with --long alone", o.filter)
	}
	return o, o.locate()
}

func (o *options) locate() error {
	o.repository = os.Getenv("PORTCULLIS_E2E_REPOSITORY")
	if o.repository == "" {
		return errors.New("start it as e2e/run")
	}
	o.cache = os.Getenv("PORTCULLIS_E2E_CACHE")
	if !filepath.IsAbs(o.cache) {
		return fmt.Errorf("PORTCULLIS_E2E_CACHE has to be an absolute path and is %q", o.cache)
	}
	if o.artefacts == "" {
		o.artefacts = filepath.Join(o.cache, "artefacts", o.name)
	}
	var err error
	o.artefacts, err = filepath.Abs(o.artefacts)
	return err
}

// clusterDir is the cluster's own folder.
func (o options) clusterDir() string { return filepath.Join(o.cache, "clusters", o.name) }

// images is where archives for the nodes are made.
func (o options) images() string { return filepath.Join(o.cache, "images", o.name) }

// report is the file to which the conformance report of the channel is copied; empty without --write-report.
func (o options) report() string {
	if !o.writeReport {
		return ""
	}
	name := "v1.7.0-report.yaml"
	if o.channel == experimental {
		name = "v1.7.0-experimental-report.yaml"
	}
	return filepath.Join(o.repository, "docs", "conformance", name)
}

// inExperimentalChannel is the second part of a long run: the conformance suite in a cluster with the experimental CRDs.
func (o options) inExperimentalChannel() options {
	o.channel, o.long = experimental, false
	o.filter = "^TestConformance$"
	o.artefacts = filepath.Join(o.artefacts, experimental)
	return o
}
