package kit

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"portcullis.dev/e2e/internal/cluster"
)

// Patience is how long a scenario waits for what should take a moment. No test asserts how long it took.
const Patience = 60 * time.Second

// S is one scenario: a test with a namespace of its own.
type S struct {
	*Env
	T *testing.T
	// Namespace is the scenario's own, gone at its end.
	Namespace string
	ctx       context.Context

	namespaces []string
	figures    []string
	// found is the release's revision that WithValues goes back to; 0 before a value is changed.
	found int
}

// New begins a scenario. Its end prints a line, and keeps what explains a failure.
func New(t *testing.T) *S {
	t.Helper()
	env, err := load()
	if err != nil {
		t.Fatal(err)
	}
	// Not the test's own context, which ends before the clean-up does.
	ctx, cancel := context.WithCancel(context.Background())
	s := &S{Env: env, T: t, ctx: ctx}
	begin := time.Now()
	t.Cleanup(func() {
		defer cancel()
		verdict := "PASS"
		if t.Failed() {
			verdict = "FAIL"
			s.dump()
		}
		for _, name := range s.namespaces {
			s.deleteNamespace(name)
		}
		if t.Skipped() {
			verdict = "SKIP"
		}
		fmt.Printf("%s  %-44s %6.1f s  %s\n", verdict, t.Name(), time.Since(begin).Seconds(), strings.Join(s.figures, ", "))
	})
	s.Namespace = s.NewNamespace("")
	return s
}

// Context ends with the scenario's clean-up.
func (s *S) Context() context.Context { return s.ctx }

// Figure adds to the scenario's line.
func (s *S) Figure(format string, args ...any) {
	s.figures = append(s.figures, fmt.Sprintf(format, args...))
}

// Say prints a line at once.
func (s *S) Say(format string, args ...any) {
	fmt.Printf("      "+format+"\n", args...)
}

// NewNamespace makes a further namespace, called after the scenario.
func (s *S) NewNamespace(suffix string, labels ...string) string {
	s.T.Helper()
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(strings.TrimPrefix(s.T.Name(), "Test")))
	if len(name) > 40 {
		name = name[:40]
	}
	if suffix != "" {
		name += "-" + suffix
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: pairs(labels)}}
	// The namespace of an aborted run may still be terminating.
	s.Eventually("namespace "+name, func() error {
		_, err := s.Kube.CoreV1().Namespaces().Create(s.ctx, namespace, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			s.deleteNamespace(name)
		}
		return err
	})
	s.namespaces = append(s.namespaces, name)
	return name
}

// Label gives a namespace a label, or removes it if the value is empty.
func (s *S) Label(namespace, key, value string) {
	s.T.Helper()
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, key, value)
	if value == "" {
		patch = fmt.Sprintf(`{"metadata":{"labels":{%q:null}}}`, key)
	}
	_, err := s.Kube.CoreV1().Namespaces().Patch(s.ctx, namespace, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	s.Must(err)
}

// deleteNamespace does not wait until it is gone, which takes seconds. Served objects are deleted first: the next
// scenario shares the address.
func (s *S) deleteNamespace(name string) {
	for _, kind := range served {
		err := s.Dynamic.Resource(kind).Namespace(name).DeleteCollection(s.ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			s.T.Logf("%s of namespace %s: %v", kind.Resource, name, err)
		}
	}
	err := s.Kube.CoreV1().Namespaces().Delete(s.ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		s.T.Logf("namespace %s: %v", name, err)
	}
}

// Apply sends YAML documents to the scenario's namespace.
func (s *S) Apply(text string, args ...any) {
	s.T.Helper()
	s.ApplyTo(s.Namespace, text, args...)
}

// ApplyTo sends YAML documents to a namespace.
func (s *S) ApplyTo(namespace, text string, args ...any) {
	s.T.Helper()
	if len(args) > 0 {
		text = fmt.Sprintf(text, args...)
	}
	if _, err := s.Clients.Apply(s.ctx, namespace, text); err != nil {
		s.T.Fatalf("apply: %v\n%s", err, text)
	}
}

// Delete removes the objects that a text describes.
func (s *S) Delete(text string) {
	s.T.Helper()
	objects, err := cluster.Decode(text)
	s.Must(err)
	for _, object := range objects {
		resource, err := s.ResourceOf(object, s.Namespace)
		s.Must(err)
		s.Must(resource.Delete(s.ctx, object.GetName(), metav1.DeleteOptions{}))
	}
}

// Must ends the scenario with an error.
func (s *S) Must(err error) {
	s.T.Helper()
	if err != nil {
		s.T.Fatal(err)
	}
}

// Eventually waits until a check has no error; if it still has one in the end, that ends the scenario.
func (s *S) Eventually(what string, check func() error) {
	s.T.Helper()
	s.Within(Patience, what, check)
}

// Within is Eventually with another patience.
func (s *S) Within(patience time.Duration, what string, check func() error) {
	s.T.Helper()
	s.Must(cluster.Until(s.ctx, patience, what, func(context.Context) error { return check() }))
}

// served are the kinds that make Portcullis answer for something.
var served = []schema.GroupVersionResource{
	{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"},
	{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"},
}

func pairs(list []string) map[string]string {
	set := map[string]string{}
	for i := 0; i+1 < len(list); i += 2 {
		set[list[i]] = list[i+1]
	}
	return set
}
