package scenarios

import (
	"fmt"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"portcullis.dev/e2e/internal/kit"
)

// TestStatuses reads what kubectl would show: what is accepted, why something is not, and where it is reached.
func TestStatuses(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	address := s.SharedAddress()
	s.Eventually("GatewayClass portcullis", func() error {
		class, err := s.Gateway.GatewayV1().GatewayClasses().Get(s.Context(), "portcullis", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(class.Status.Conditions, "Accepted") || !meta.IsStatusConditionTrue(class.Status.Conditions, "SupportedVersion") {
			return fmt.Errorf("conditions %+v", class.Status.Conditions)
		}
		for _, feature := range []gatewayv1.FeatureName{"Gateway", "HTTPRoute", "ReferenceGrant"} {
			if !slices.ContainsFunc(class.Status.SupportedFeatures, func(f gatewayv1.SupportedFeature) bool { return f.Name == feature }) {
				return fmt.Errorf("feature %s is not among %v", feature, class.Status.SupportedFeatures)
			}
		}
		return nil
	})
	s.Apply(gatewayAndRoute, "web", "web.example.com", "web")
	s.Apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: lost }
spec:
  parentRefs: [{ name: web }]
  hostnames: [elsewhere.example.com]
  rules: [{ backendRefs: [{ name: web, port: 80 }] }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: dangling }
spec:
  parentRefs: [{ name: web }]
  rules: [{ matches: [{ path: { value: /dangling } }], backendRefs: [{ name: nobody, port: 80 }] }]
`)
	if got := s.AwaitGateway(s.Namespace, "web"); got != address {
		t.Errorf("the Gateway has the address %s, and the Service %s", got, address)
	}
	s.AwaitRoute(s.Namespace, "web")
	awaitParent(s, s.Namespace, "lost", "Accepted", metav1.ConditionFalse, "NoMatchingListenerHostname")
	awaitParent(s, s.Namespace, "dangling", "Accepted", metav1.ConditionTrue, "Accepted")
	awaitParent(s, s.Namespace, "dangling", "ResolvedRefs", metav1.ConditionFalse, "BackendNotFound")
	awaitAttached(s, s.Namespace, "web", 2)
	s.Figure("GatewayClass, Gateway, 3 routes")
}

// awaitParent waits for a condition at a route's one parent.
func awaitParent(s *kit.S, namespace, route, condition string, want metav1.ConditionStatus, reason string) {
	s.T.Helper()
	s.Eventually(condition+" of HTTPRoute "+namespace+"/"+route, func() error {
		got, err := s.Gateway.GatewayV1().HTTPRoutes(namespace).Get(s.Context(), route, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, parent := range got.Status.Parents {
			if isSo(parent.Conditions, condition, want, reason, got.Generation) {
				return nil
			}
		}
		return fmt.Errorf("want %s %s, have %+v", want, reason, got.Status.Parents)
	})
}

// awaitListener waits for a condition of one listener.
func awaitListener(s *kit.S, namespace, gateway, listener, condition string, want metav1.ConditionStatus, reason string) {
	s.T.Helper()
	awaitGateway(s, namespace, gateway, condition+" of its listener "+listener, func(got *gatewayv1.Gateway) error {
		at := slices.IndexFunc(got.Status.Listeners, func(l gatewayv1.ListenerStatus) bool { return string(l.Name) == listener })
		if at < 0 {
			return fmt.Errorf("it has no status; conditions of the Gateway: %+v", got.Status.Conditions)
		}
		if !isSo(got.Status.Listeners[at].Conditions, condition, want, reason, got.Generation) {
			return fmt.Errorf("want %s %s, have %+v", want, reason, got.Status.Listeners[at].Conditions)
		}
		return nil
	})
}

// awaitAttached waits until so many routes are attached to a Gateway's one listener.
func awaitAttached(s *kit.S, namespace, gateway string, want int32) {
	s.T.Helper()
	awaitGateway(s, namespace, gateway, "its count of routes", func(got *gatewayv1.Gateway) error {
		if len(got.Status.Listeners) != 1 || got.Status.Listeners[0].AttachedRoutes != want {
			return fmt.Errorf("want %d, have listeners %+v", want, got.Status.Listeners)
		}
		return nil
	})
}

// awaitCondition waits for a condition of a Gateway itself.
func awaitCondition(s *kit.S, namespace, gateway, condition string, want metav1.ConditionStatus, reason string) {
	s.T.Helper()
	awaitGateway(s, namespace, gateway, condition, func(got *gatewayv1.Gateway) error {
		if !isSo(got.Status.Conditions, condition, want, reason, got.Generation) {
			return fmt.Errorf("want %s %s, have %+v", want, reason, got.Status.Conditions)
		}
		return nil
	})
}

func awaitGateway(s *kit.S, namespace, gateway, what string, check func(*gatewayv1.Gateway) error) {
	s.T.Helper()
	s.Eventually("Gateway "+namespace+"/"+gateway+": "+what, func() error {
		got, err := s.Gateway.GatewayV1().Gateways(namespace).Get(s.Context(), gateway, metav1.GetOptions{})
		if err != nil {
			return err
		}
		return check(got)
	})
}

func isSo(conditions []metav1.Condition, condition string, want metav1.ConditionStatus, reason string, generation int64) bool {
	found := meta.FindStatusCondition(conditions, condition)
	return found != nil && found.Status == want && found.Reason == reason && found.ObservedGeneration == generation
}
