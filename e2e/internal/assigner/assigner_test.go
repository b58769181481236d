package assigner

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func service(name string, change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{}
	s.Name, s.UID = name, types.UID(name)
	s.Spec.Type = corev1.ServiceTypeLoadBalancer
	if change != nil {
		change(s)
	}
	return s
}

func has(address string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: address}}
	}
}

func wants(address string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.LoadBalancerIP = address }
}

func TestAServiceHasTheAddressThatNobodyElseHas(t *testing.T) {
	class := "example.com/other"
	a := Assigner{Pool: netip.MustParsePrefix("172.19.1.0/30"), Allowed: netip.MustParsePrefix("172.19.0.0/16")}
	for _, row := range []struct {
		name   string
		it     *corev1.Service
		others []*corev1.Service
		want   string
	}{
		{"first of the pool", service("it", nil), nil, "172.19.1.1"},
		{"next one", service("it", nil), []*corev1.Service{service("a", has("172.19.1.1"))}, "172.19.1.2"},
		{"keeps its own", service("it", has("172.19.1.2")), nil, "172.19.1.2"},
		{"a wish", service("it", wants("172.19.0.9")), nil, "172.19.0.9"},
		{"a wish after another address", service("it", func(s *corev1.Service) { has("172.19.1.1")(s); wants("172.19.0.9")(s) }), nil, "172.19.0.9"},
		{"a wish that is taken", service("it", wants("172.19.0.9")), []*corev1.Service{service("a", has("172.19.0.9"))}, ""},
		{"a foreign wish", service("it", wants("192.0.2.1")), nil, ""},
		{"no address at all", service("it", wants("x")), nil, ""},
		{"an external address is taken", service("it", nil), []*corev1.Service{service("a", func(s *corev1.Service) {
			s.Spec.Type = corev1.ServiceTypeClusterIP
			s.Spec.ExternalIPs = []string{"172.19.1.1"}
		})}, "172.19.1.2"},
		{"no LoadBalancer any more", service("it", func(s *corev1.Service) { has("172.19.1.1")(s); s.Spec.Type = corev1.ServiceTypeNodePort }), nil, ""},
		{"of another's class", service("it", func(s *corev1.Service) { s.Spec.LoadBalancerClass = &class }), nil, ""},
		{"the pool is empty", service("it", nil), []*corev1.Service{
			service("a", has("172.19.1.1")), service("b", has("172.19.1.2")), service("c", has("172.19.1.3")),
		}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := ""
			if status := a.status(row.it, append(row.others, row.it)); len(status.Ingress) > 0 {
				got = status.Ingress[0].IP
			}
			if got != row.want {
				t.Errorf("has %q, want %q", got, row.want)
			}
		})
	}
}
