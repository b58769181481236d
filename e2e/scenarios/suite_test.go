package scenarios

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"portcullis.dev/e2e/internal/conformance"
	"portcullis.dev/e2e/internal/kit"
)

// suiteRun is the Gateway API's conformance suite against a GatewayClass, once.
type suiteRun struct {
	class string
	// label tells the files of several runs apart.
	label string
	// args are further flags of parts/suite.
	args []string
	// leftOut are the tests that are skipped by name.
	leftOut []conformance.LeftOut
	// passes is how many tests pass if all is well; 0 where it is not known.
	passes int
}

// file is where the run's files are among the artefacts.
func (r suiteRun) file(s *kit.S, ending string) string {
	return filepath.Join(s.Artefacts, "conformance-"+r.class+r.label+ending)
}

// run does not end the scenario, so that it can be called beside something else.
func (r suiteRun) run(s *kit.S) (conformance.Results, error) {
	suite, built := s.Cluster.Binaries["conformance.test"]
	if !built {
		return conformance.Results{}, errors.New("this cluster was made without the suite: its first run had a filter that left it out")
	}
	// The suite reads the claimed features once, when it starts.
	if _, err := s.AcceptedClass(r.class); err != nil {
		return conformance.Results{}, err
	}
	for _, ending := range []string{".yaml", ".txt"} {
		if err := os.Remove(r.file(s, ending)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return conformance.Results{}, err
		}
	}
	log, err := os.Create(r.file(s, ".log"))
	if err != nil {
		return conformance.Results{}, err
	}
	defer log.Close()
	cmd := exec.CommandContext(context.WithoutCancel(s.Context()), suite, r.arguments(s)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.Cluster.Kubeconfig())
	cmd.Stdout, cmd.Stderr = log, log
	ended := cmd.Run()
	results, err := conformance.Read(r.file(s, ".txt"))
	// A failed test is a reason to end with an error; without one it is the suite itself that has failed.
	if ended != nil && len(results.Failed) == 0 {
		return results, fmt.Errorf("the suite: %w; see %s", ended, log.Name())
	}
	return results, err
}

func (r suiteRun) arguments(s *kit.S) []string {
	tests := "^TestConformance$"
	if s.SuiteTests != "" {
		tests += "/" + s.SuiteTests
	}
	arguments := []string{
		"-test.run=" + tests, "-test.v", "-test.parallel=8", "-test.timeout=60m",
		"--gateway-class=" + r.class,
		"--conformance-profiles=GATEWAY-HTTP,GATEWAY-GRPC,GATEWAY-TLS,GATEWAY-TCP,GATEWAY-UDP",
		"--usable-address=172.19.0.200", "--unusable-address=unusable.example.com",
		"--organization=portcullis", "--project=portcullis", "--url=https://portcullis.dev", "--version=e2e",
		"--contact=https://portcullis.dev", "--report-output=" + r.file(s, ".yaml"), "--results=" + r.file(s, ".txt"),
	}
	// Without the flag the suite goes by what the class itself claims in its status.
	if s.Features != "" {
		arguments = append(arguments, "--supported-features="+s.Features)
	}
	if len(r.leftOut) > 0 {
		arguments = append(arguments, "--skip-tests="+strings.Join(conformance.Names(r.leftOut), ","))
	}
	return append(arguments, r.args...)
}

// judge fails the scenario if a test has failed, or if fewer were run than should have been.
func (r suiteRun) judge(s *kit.S, results conformance.Results) {
	s.T.Helper()
	s.Figure("class %s%s: %d passed, %d failed, %d left out", r.class, r.label, len(results.Passed), len(results.Failed), len(results.LeftOut))
	if len(results.Failed) > 0 {
		s.T.Errorf("failed, of which %s has the reasons:\n  %s", r.file(s, ".log"), strings.Join(results.Failed, "\n  "))
	}
	if len(results.Passed) == 0 {
		s.T.Errorf("no test passed; see %s", r.file(s, ".log"))
	}
	if s.SuiteTests != "" || s.Features != "" {
		return
	}
	if ran := len(results.Passed) + len(results.Failed); r.passes != 0 && ran != r.passes {
		s.T.Errorf("%d tests were run, not %d; not claimed:\n  %s", ran, r.passes, strings.Join(results.Unclaimed, "\n  "))
	}
	names := conformance.Names(r.leftOut)
	slices.Sort(names)
	if !slices.Equal(results.LeftOut, names) {
		s.T.Errorf("left out were\n  %s\nand should have been\n  %s", strings.Join(results.LeftOut, "\n  "), strings.Join(names, "\n  "))
	}
}

type result struct {
	Result string `json:"result"`
}

// whole tells whether the report says success for every profile: its core, and what is claimed beyond.
func whole(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("the suite wrote no report: %w", err)
	}
	var report struct {
		Profiles []struct {
			Name     string `json:"name"`
			Core     result `json:"core"`
			Extended result `json:"extended"`
		} `json:"profiles"`
	}
	if err := yaml.Unmarshal(data, &report); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(report.Profiles) == 0 {
		return fmt.Errorf("%s: no profile", path)
	}
	for _, profile := range report.Profiles {
		if profile.Core.Result != "success" || profile.Extended.Result != "" && profile.Extended.Result != "success" {
			return fmt.Errorf("profile %s: core %s, extended %s", profile.Name, profile.Core.Result, profile.Extended.Result)
		}
	}
	return nil
}
