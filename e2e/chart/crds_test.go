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

func addKindsOfOthers(scheme *runtime.Scheme) error {
	for group, object := range map[string]runtime.Object{
		"gateway.networking.k8s.io": &GatewayClass{},
		"monitoring.coreos.com":     &ServiceMonitor{},
	} {
		version := schema.GroupVersion{Group: group, Version: "v1"}
		scheme.AddKnownTypes(version, object)
		metav1.AddToGroupVersion(scheme, version)
	}
	return nil
}
