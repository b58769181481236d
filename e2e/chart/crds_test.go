package chart

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Kinds of others, as far as the chart writes them. Their own modules ask for a newer Go, or for much else.

type GatewayClass struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		ControllerName string `json:"controllerName"`
		ParametersRef  *struct {
			Group     string `json:"group"`
			Kind      string `json:"kind"`
			Name      string `json:"name"`
			Namespace string `json:"namespace,omitempty"`
		} `json:"parametersRef,omitempty"`
	} `json:"spec"`
}

// GatewayParameters of ours; the schema of its definition says more.
type GatewayParameters struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Addressing string         `json:"addressing"`
		Service    map[string]any `json:"service,omitempty"`
	} `json:"spec"`
}

type CustomResourceDefinition struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              map[string]any `json:"spec"`
}

type ServiceMonitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Selector  metav1.LabelSelector `json:"selector"`
		Endpoints []struct {
			Port     string `json:"port"`
			Path     string `json:"path"`
			Interval string `json:"interval"`
		} `json:"endpoints"`
	} `json:"spec"`
}

// DeepCopyObject makes it an object; nothing here changes one.
func (c *GatewayClass) DeepCopyObject() runtime.Object {
	copied := *c
	return &copied
}

// DeepCopyObject makes it an object; nothing here changes one.
func (m *ServiceMonitor) DeepCopyObject() runtime.Object {
	copied := *m
	return &copied
}

// DeepCopyObject makes it an object; nothing here changes one.
func (p *GatewayParameters) DeepCopyObject() runtime.Object {
	copied := *p
	return &copied
}

// DeepCopyObject makes it an object; nothing here changes one.
func (d *CustomResourceDefinition) DeepCopyObject() runtime.Object {
	copied := *d
	return &copied
}

func addKindsOfOthers(scheme *runtime.Scheme) error {
	for version, object := range map[schema.GroupVersion]runtime.Object{
		{Group: "gateway.networking.k8s.io", Version: "v1"}: &GatewayClass{},
		{Group: "monitoring.coreos.com", Version: "v1"}:     &ServiceMonitor{},
		{Group: "portcullis.dev", Version: "v1alpha1"}:      &GatewayParameters{},
		{Group: "apiextensions.k8s.io", Version: "v1"}:      &CustomResourceDefinition{},
	} {
		scheme.AddKnownTypes(version, object)
		metav1.AddToGroupVersion(scheme, version)
	}
	return nil
}
