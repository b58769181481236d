package scenarios

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"portcullis.dev/e2e/internal/kit"
)

// TestConformance is the Gateway API's own suite. Its report is kept among the artefacts.
func TestConformance(t *testing.T) {
	s := kit.New(t)
	suite, built := s.Cluster.Binaries["conformance.test"]
	if !built {
		t.Fatal("this cluster was made without the suite: its first run had a filter that left TestConformance out")
	}
	class, err := s.Gateway.GatewayV1().GatewayClasses().Get(s.Context(), s.Class, metav1.GetOptions{})
	if err != nil {
		t.Fatalf("GatewayClass %s (--class chooses another): %v", s.Class, err)
	}
	report := filepath.Join(s.Artefacts, "conformance-"+class.Name+".yaml")
	if err := os.Remove(report); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(s.Artefacts, "conformance-"+class.Name+".log"))
	s.Must(err)
	defer log.Close()
	run := "^TestConformance$"
	if s.SuiteTests != "" {
		run += "/" + s.SuiteTests
	}
	cmd := exec.CommandContext(context.WithoutCancel(s.Context()), suite,
		"-test.run="+run, "-test.v", "-test.parallel=8", "-test.timeout=40m",
		"--gateway-class="+class.Name,
		"--conformance-profiles=GATEWAY-HTTP,GATEWAY-GRPC,GATEWAY-TLS,GATEWAY-TCP,GATEWAY-UDP",
		"--usable-address=172.19.0.200", "--unusable-address=unusable.example.com",
		"--organization=portcullis", "--project=portcullis", "--url=https://portcullis.dev", "--version=e2e",
		"--contact=https://portcullis.dev", "--report-output="+report,
	)
	// Without the flag the suite goes by what the class itself claims in its status.
	if s.Features != "" {
		cmd.Args = append(cmd.Args, "--supported-features="+s.Features)
	}
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.Cluster.Kubeconfig())
	cmd.Stdout, cmd.Stderr = log, log
	ended := cmd.Run()
	passed, failed, err := count(log.Name())
	s.Must(err)
	s.Figure("class %s: %d passed, %d failed, report %s", class.Name, passed, len(failed), report)
	if ended != nil || len(failed) > 0 {
		t.Errorf("%v; failed, of which %s has the reasons:\n  %s", ended, log.Name(), strings.Join(failed, "\n  "))
	}
	if passed == 0 {
		t.Errorf("no test passed; see %s", log.Name())
	}
	if s.SuiteTests == "" {
		s.Must(whole(report))
	}
}

// count reads the results of the suite's tests, one level below its own, out of its log.
func count(path string) (passed int, failed []string, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, nil, err
	}
	const level = "    --- "
	for line := range strings.Lines(string(data)) {
		verdict, found := strings.CutPrefix(line, level)
		if !found {
			continue
		}
		fields := strings.Fields(verdict)
		switch {
		case len(fields) < 2:
		case fields[0] == "PASS:":
			passed++
		case fields[0] == "FAIL:":
			failed = append(failed, strings.TrimPrefix(fields[1], "TestConformance/"))
		}
	}
	return passed, failed, nil
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
