package chart

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A GatewayClass, as far as a chart writes one. The Gateway API's own module asks for a newer Go than the rest.
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

// DeepCopyObject makes it an object; nothing here changes one.
func (c *GatewayClass) DeepCopyObject() runtime.Object {
	copied := *c
	return &copied
}

func addGatewayClass(scheme *runtime.Scheme) error {
	group := schema.GroupVersion{Group: "gateway.networking.k8s.io", Version: "v1"}
	scheme.AddKnownTypes(group, &GatewayClass{})
	metav1.AddToGroupVersion(scheme, group)
	return nil
}
