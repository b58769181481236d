package suite

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/utils/kubernetes"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/yaml"
)

// The suite's base manifests have three Gateways for all of plain HTTP on port 80, which takes an address for each. These
// have the same names, on ports that are not used by any test.
//
//go:embed one-address.yaml
var oneAddress string

// separator is what the suite's manifests have between two documents.
const separator = "\n---"

// place is where the base Gateways are that most tests send requests to.
type place struct {
	name string
	// Ports by the names that one-address.yaml has for them.
	ports map[string]string
}

var (
	// usual is for tests that expect what the ports of HTTP and HTTPS alone have, such as redirects without a port.
	usual = place{"one-address/usual.yaml", map[string]string{"HTTP": "80", "HTTPS": "443"}}
	// aside is for tests with Gateways of their own that take all of one of those ports.
	aside = place{"one-address/aside.yaml", map[string]string{"HTTP": "8301", "HTTPS": "8302"}}
)

// layout is the base manifests for one address, and where their Gateways are at the time.
type layout struct {
	files fstest.MapFS
	now   place
}

func newLayout() (*layout, error) {
	l := &layout{files: fstest.MapFS{}, now: usual}
	for _, p := range []place{usual, aside} {
		l.files[p.name] = &fstest.MapFile{Data: []byte(os.Expand(oneAddress, func(name string) string { return p.ports[name] }))}
	}
	backends, err := withoutGateways()
	if err != nil {
		return nil, err
	}
	l.files[l.base()] = &fstest.MapFile{Data: append(backends, l.files[l.now.name].Data...)}
	return l, nil
}

func (l *layout) base() string { return "one-address/base.yaml" }

// withoutGateways is everything else in the suite's base manifests, as it is.
func withoutGateways() ([]byte, error) {
	const path = "base/manifests.yaml"
	data, err := conformance.Manifests.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var kept bytes.Buffer
	for document := range strings.SplitSeq(string(data), separator) {
		var object struct {
			Kind string `json:"kind"`
		}
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if object.Kind != "" && object.Kind != "Gateway" {
			kept.WriteString(document)
			kept.WriteString(separator + "\n")
		}
	}
	return kept.Bytes(), nil
}

// prepared is a test before which the base Gateways are put where it needs them. It is unchanged otherwise.
func (l *layout) prepared(test suite.ConformanceTest) (suite.ConformanceTest, error) {
	needed, err := needs(test)
	if err != nil {
		return test, err
	}
	run, manifests := test.Test, test.Manifests
	// Applied by the suite, they would be there before the base Gateways have made room.
	test.Manifests = nil
	test.Test = func(t *testing.T, s *suite.ConformanceTestSuite) {
		l.put(t, s, needed)
		for _, manifest := range manifests {
			s.Applier.MustApplyWithCleanup(t, s.Client, s.TimeoutConfig, manifest, s.CleanupTestResources)
		}
		run(t, s)
	}
	return test, nil
}

// put moves the listeners of the base Gateways. A patch, as their statuses are being written at the same time.
func (l *layout) put(t *testing.T, s *suite.ConformanceTestSuite, where place) {
	if l.now.name == where.name {
		return
	}
	l.now = place{}
	for document := range strings.SplitSeq(string(l.files[where.name].Data), separator) {
		var gateway gatewayv1.Gateway
		require.NoError(t, yaml.Unmarshal([]byte(document), &gateway))
		patch, err := json.Marshal(map[string]any{"spec": map[string]any{"listeners": gateway.Spec.Listeners}})
		require.NoError(t, err)
		require.NoError(t, s.Client.Patch(t.Context(), &gateway, client.RawPatch(types.MergePatchType, patch)))
	}
	l.now = where
	kubernetes.NamespacesMustBeReady(t, s.Client, s.TimeoutConfig, []string{suite.InfrastructureNamespace})
}

// needs looks for Gateways and ListenerSets of the test's own that take a whole port of the base Gateways.
func needs(test suite.ConformanceTest) (place, error) {
	for _, path := range test.Manifests {
		data, err := conformance.Manifests.ReadFile(path)
		if err != nil {
			return usual, fmt.Errorf("%s: %w", test.ShortName, err)
		}
		for document := range strings.SplitSeq(string(data), separator) {
			whole, err := takesWholePort(document)
			if err != nil {
				return usual, fmt.Errorf("%s: %w", path, err)
			}
			if whole {
				return aside, nil
			}
		}
	}
	return usual, nil
}

func takesWholePort(document string) (bool, error) {
	var object struct {
		Kind string `json:"kind"`
		Spec struct {
			Listeners []struct {
				Port     int    `json:"port"`
				Hostname string `json:"hostname"`
			} `json:"listeners"`
		} `json:"spec"`
	}
	// Of other kinds the same fields may be something else.
	if !strings.Contains(document, "kind: Gateway\n") && !strings.Contains(document, "kind: ListenerSet\n") {
		return false, nil
	}
	if err := yaml.Unmarshal([]byte(document), &object); err != nil {
		return false, err
	}
	for _, listener := range object.Spec.Listeners {
		if listener.Hostname == "" && (listener.Port == 80 || listener.Port == 443) {
			return true, nil
		}
	}
	return false, nil
}
