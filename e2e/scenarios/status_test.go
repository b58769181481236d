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

// TestStatuses reads what kubectl would show: whose is accepted, why another is not, and where it is reached.
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
	awaitParent(s, "lost", "Accepted", metav1.ConditionFalse, "NoMatchingListenerHostname")
	awaitParent(s, "dangling", "Accepted", metav1.ConditionTrue, "Accepted")
	awaitParent(s, "dangling", "ResolvedRefs", metav1.ConditionFalse, "BackendNotFound")
	s.Eventually("the listener's count of routes", func() error {
		gateway, err := s.Gateway.GatewayV1().Gateways(s.Namespace).Get(s.Context(), "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, listener := range gateway.Status.Listeners {
			if listener.Name == "http" && listener.AttachedRoutes == 2 {
				return nil
			}
		}
		return fmt.Errorf("listeners %+v", gateway.Status.Listeners)
	})
	s.Figure("GatewayClass, Gateway, 3 routes")
}

// awaitParent waits for a condition at a route's one parent.
func awaitParent(s *kit.S, route, condition string, want metav1.ConditionStatus, reason string) {
	s.T.Helper()
	s.Eventually(condition+" of HTTPRoute "+route, func() error {
		got, err := s.Gateway.GatewayV1().HTTPRoutes(s.Namespace).Get(s.Context(), route, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, parent := range got.Status.Parents {
			found := meta.FindStatusCondition(parent.Conditions, condition)
			if found != nil && found.Status == want && found.Reason == reason && found.ObservedGeneration == got.Generation {
				return nil
			}
		}
		return fmt.Errorf("want %s %s, have %+v", want, reason, got.Status.Parents)
	})
}
