// Package assigner gives every Service of type LoadBalancer an address, as a cloud's controller or MetalLB would.
// kube-proxy answers for an address as soon as the status has it, so nothing has to be announced.
package assigner

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
)

// Assigner knows the addresses there are.
type Assigner struct {
	Client   kubernetes.Interface
	Services corelisters.ServiceLister
	// Pool is what addresses are taken from; Allowed is what a Service may ask for with spec.loadBalancerIP.
	Pool, Allowed netip.Prefix
}

// Pass looks at every Service once, and writes the statuses that differ from what they should be.
func (a Assigner) Pass(ctx context.Context) error {
	listed, err := a.Services.List(labels.Everything())
	if err != nil {
		return err
	}
	services := make([]*corev1.Service, len(listed))
	for i, service := range listed {
		services[i] = service.DeepCopy() // a pass sees what it has chosen itself
	}
	for _, service := range services {
		want := a.status(service, services)
		if equality.Semantic.DeepEqual(want, service.Status.LoadBalancer) {
			continue
		}
		service.Status.LoadBalancer = want
		_, err := a.Client.CoreV1().Services(service.Namespace).UpdateStatus(ctx, service, metav1.UpdateOptions{})
		switch {
		case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
			continue // the watch brings what it is by now
		case err != nil:
			return fmt.Errorf("status of Service %s/%s: %w", service.Namespace, service.Name, err)
		}
		slog.Info("assigned", "service", service.Namespace+"/"+service.Name, "address", address(service))
	}
	return nil
}

// status is what a Service's status should say.
func (a Assigner) status(service *corev1.Service, all []*corev1.Service) corev1.LoadBalancerStatus {
	if service.Spec.LoadBalancerClass != nil {
		return service.Status.LoadBalancer // another's
	}
	if service.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return corev1.LoadBalancerStatus{}
	}
	chosen := a.choose(service, taken(service, all))
	if chosen == "" {
		return corev1.LoadBalancerStatus{}
	}
	mode := corev1.LoadBalancerIPModeVIP
	return corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: chosen, IPMode: &mode}}}
}

// choose is the address of a Service; empty when it has to wait for the one that it wants.
func (a Assigner) choose(service *corev1.Service, taken map[string]bool) string {
	if wish := service.Spec.LoadBalancerIP; wish != "" {
		parsed, err := netip.ParseAddr(wish)
		if err != nil || !a.Allowed.Contains(parsed) || taken[wish] {
			return ""
		}
		return wish
	}
	if have := address(service); have != "" && !taken[have] {
		return have
	}
	for candidate := a.Pool.Addr().Next(); a.Pool.Contains(candidate); candidate = candidate.Next() {
		if !taken[candidate.String()] {
			return candidate.String()
		}
	}
	return ""
}

// taken are the addresses that other Services have or have by hand.
func taken(service *corev1.Service, all []*corev1.Service) map[string]bool {
	addresses := map[string]bool{}
	for _, other := range all {
		if other.UID == service.UID {
			continue
		}
		if have := address(other); have != "" {
			addresses[have] = true
		}
		for _, external := range other.Spec.ExternalIPs {
			addresses[external] = true
		}
	}
	return addresses
}

func address(service *corev1.Service) string {
	if service.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return ""
	}
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		if ingress.IP != "" {
			return ingress.IP
		}
	}
	return ""
}
