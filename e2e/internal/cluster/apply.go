package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
)

const fieldManager = "portcullis-e2e"

// Apply sends the documents of a YAML text by server-side apply; objects without a namespace get the given one.
func (c *Clients) Apply(ctx context.Context, namespace, text string) ([]*unstructured.Unstructured, error) {
	objects, err := Decode(text)
	if err != nil {
		return nil, err
	}
	var applied []*unstructured.Unstructured
	for _, object := range objects {
		resource, err := c.ResourceOf(object, namespace)
		if err != nil {
			return applied, err
		}
		got, err := resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
		if err != nil {
			return applied, fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
		applied = append(applied, got)
	}
	return applied, nil
}

// ResourceOf is where an object of its kind is reached.
func (c *Clients) ResourceOf(object *unstructured.Unstructured, namespace string) (dynamic.ResourceInterface, error) {
	kind := object.GroupVersionKind()
	mapping, err := c.Mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		c.Mapper.Reset() // a CRD may have come since
		mapping, err = c.Mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
	}
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return c.Dynamic.Resource(mapping.Resource), nil
	}
	if object.GetNamespace() == "" {
		object.SetNamespace(namespace)
	}
	if object.GetNamespace() == "" {
		return nil, fmt.Errorf("%s %s: no namespace", object.GetKind(), object.GetName())
	}
	return c.Dynamic.Resource(mapping.Resource).Namespace(object.GetNamespace()), nil
}

// Decode reads the documents of a YAML text.
func Decode(text string) ([]*unstructured.Unstructured, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w in:\n%s", err, text)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}
