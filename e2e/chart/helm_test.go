// Package chart renders charts/portcullis with the real helm and holds what comes out against the Kubernetes types, the
// golden files, and the code that the chart installs. It needs no cluster.
//
//	HELM=/path/to/helm go test -count=1 ./...                   # helm 4
//	HELM=/path/to/helm UPDATE_GOLDEN=1 go test -count=1 ./...   # rewrites testdata/*/rendered.yaml and notes.txt
//
// Go would otherwise answer from its cache, which does not look at files outside of this module.
package chart

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

const (
	repository = "../.."
	chartDir   = repository + "/charts/portcullis"
)

func TestMain(m *testing.M) {
	if os.Getenv("HELM") == "" {
		fmt.Fprintln(os.Stderr, "HELM has to name a helm 4 binary")
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// helm runs the helm that HELM names, which sees nothing of this machine's own configuration.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	home := t.TempDir()
	command := exec.Command(os.Getenv("HELM"), args...)
	command.Env = []string{
		"HOME=" + home,
		"KUBECONFIG=" + filepath.Join(home, "none"),
		"HELM_CACHE_HOME=" + home,
		"HELM_CONFIG_HOME=" + home,
		"HELM_DATA_HOME=" + home,
		"TZ=UTC",
	}
	var out, told bytes.Buffer
	command.Stdout, command.Stderr = &out, &told
	err := command.Run()
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		return out.String(), fmt.Errorf("helm %s: %w\n%s%s", strings.Join(args, " "), err, told.String(), out.String())
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), nil
}

// template renders a chart as `helm install portcullis --namespace edge` would.
func template(t *testing.T, chart string, args ...string) (string, error) {
	t.Helper()
	fixed := []string{"template", "portcullis", chart, "--namespace", "edge", "--kube-version", "1.34.0"}
	return helm(t, append(fixed, args...)...)
}

// A testCase is a folder of testdata: values.yaml, what comes out of it, and the API versions beyond Kubernetes' own.
type testCase struct {
	name, dir string
	args      []string
}

func testCases(t *testing.T) []testCase {
	t.Helper()
	files, err := filepath.Glob("testdata/*/values.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in testdata: %v", err)
	}
	var cases []testCase
	for _, file := range files {
		dir := filepath.Dir(file)
		args := []string{"--values", file}
		versions, err := os.ReadFile(filepath.Join(dir, "api-versions.txt"))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, version := range strings.Fields(string(versions)) {
			args = append(args, "--api-versions", version)
		}
		cases = append(cases, testCase{name: filepath.Base(dir), dir: dir, args: args})
	}
	return cases
}

// forEachCase runs a test with the objects of every case.
func forEachCase(t *testing.T, test func(t *testing.T, objects objects)) {
	t.Helper()
	for _, c := range testCases(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text, err := template(t, chartDir, c.args...)
			if err != nil {
				t.Fatal(err)
			}
			test(t, decode(t, text))
		})
	}
}

// objects are what one rendering holds.
type objects []runtime.Object

var decoder = func() runtime.Decoder {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, autoscalingv2.AddToScheme, coordinationv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme,
		policyv1.AddToScheme, rbacv1.AddToScheme, addKindsOfOthers,
	} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
}()

// decode takes no field that the type lacks, no field twice, and no kind that it does not know.
func decode(t *testing.T, text string) objects {
	t.Helper()
	var all objects
	for document := range strings.SplitSeq(text, "\n---\n") {
		document = strings.TrimPrefix(document, "---\n")
		object, _, err := decoder.Decode([]byte(document), nil, nil)
		if err != nil {
			t.Fatalf("not a Kubernetes object: %v\n%s", err, document)
		}
		all = append(all, object)
	}
	return all
}

// every object of a type.
func every[T runtime.Object](all objects) []T {
	var found []T
	for _, object := range all {
		if object, ok := object.(T); ok {
			found = append(found, object)
		}
	}
	return found
}

// only is the one object of a type.
func only[T runtime.Object](t *testing.T, all objects) T {
	t.Helper()
	found := every[T](all)
	if len(found) != 1 {
		t.Fatalf("%d objects of type %T, not 1", len(found), *new(T))
	}
	return found[0]
}

// pods is the template of the workload, of whichever kind it is.
func pods(t *testing.T, all objects) corev1.PodTemplateSpec {
	t.Helper()
	var found []corev1.PodTemplateSpec
	for _, deployment := range every[*appsv1.Deployment](all) {
		found = append(found, deployment.Spec.Template)
	}
	for _, daemonSet := range every[*appsv1.DaemonSet](all) {
		found = append(found, daemonSet.Spec.Template)
	}
	if len(found) != 1 || len(found[0].Spec.Containers) != 1 {
		t.Fatalf("%d workloads, not 1 with one container", len(found))
	}
	return found[0]
}

func port(container corev1.Container, name string) (int32, bool) {
	at := slices.IndexFunc(container.Ports, func(port corev1.ContainerPort) bool { return port.Name == name })
	if at < 0 {
		return 0, false
	}
	return container.Ports[at].ContainerPort, true
}
