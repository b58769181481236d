package kit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"portcullis.dev/e2e/internal/portcullis"
	"portcullis.dev/e2e/internal/stage"
)

// Helm runs a helm command in the release's namespace, and ends the scenario when it fails. Its output is kept among the
// artefacts.
func (s *S) Helm(args ...string) {
	s.T.Helper()
	printer, err := stage.New(io.Discard, filepath.Join(s.Artefacts, "commands"))
	s.Must(err)
	s.Must(printer.Command(s.ctx, "helm", portcullis.Helm(s.ctx, s.Cluster, args...)))
}

// HelmUpgrade upgrades the release, or installs it, to the run's values and further ones, and waits for its pods. Replicas
// that a scenario has set by hand are taken back by it, as a user has to, too.
func (s *S) HelmUpgrade(values ...string) {
	s.T.Helper()
	args := []string{"upgrade", "--install", portcullis.Release, portcullis.Chart(s.Repository), "--wait", "--timeout", "3m", "--force-conflicts"}
	s.Helm(slices.Concat(args, portcullis.Values(), values)...)
}

// Traces are all objects of the cluster that say the word in their name, a label or an annotation, or have an owner of
// that name; of every kind that can be listed, but events, which end by themselves, and the namespaces themselves.
func (s *S) Traces(word string) ([]string, error) {
	groups, err := s.Kube.Discovery().ServerPreferredResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, err
	}
	var found []string
	for _, group := range groups {
		version, err := schema.ParseGroupVersion(group.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, resource := range group.APIResources {
			if !slices.Contains(resource.Verbs, "list") || slices.Contains([]string{"events", "namespaces"}, resource.Name) {
				continue
			}
			traces, err := s.tracesOf(version.WithResource(resource.Name), word)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", resource.Name, err)
			}
			found = append(found, traces...)
		}
	}
	return found, nil
}

func (s *S) tracesOf(kind schema.GroupVersionResource, word string) (found []string, err error) {
	list, err := s.Dynamic.Resource(kind).List(context.WithoutCancel(s.ctx), metav1.ListOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
		return nil, nil // its definition has just gone, or it is none to be listed
	}
	if err != nil {
		return nil, err
	}
	for _, object := range list.Items {
		text := []string{object.GetName()}
		for _, set := range []map[string]string{object.GetLabels(), object.GetAnnotations()} {
			for key, value := range set {
				text = append(text, key, value)
			}
		}
		for _, owner := range object.GetOwnerReferences() {
			text = append(text, owner.Name)
		}
		if slices.ContainsFunc(text, func(part string) bool { return strings.Contains(part, word) }) {
			found = append(found, fmt.Sprintf("%s %s/%s", kind.Resource, object.GetNamespace(), object.GetName()))
		}
	}
	return found, nil
}

// AwaitNoTrace waits until nothing of a word is left: what is owned by what was deleted goes a moment later.
func (s *S) AwaitNoTrace(word string) {
	s.T.Helper()
	s.Eventually("nothing of "+word, func() error {
		left, err := s.Traces(word)
		if err == nil && len(left) > 0 {
			err = errors.New("there is still " + strings.Join(left, ", "))
		}
		return err
	})
}
