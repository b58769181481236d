package kit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// crowdWorkers make routes at the same time; the API server has two processors for all of it.
const crowdWorkers = 16

// Crowd makes the HTTPRoutes number `from` up to `to` in a namespace, each with a host of its own below the domain. They
// attach to a Gateway of the scenario's namespace, and their backend is the Service web of their own.
func (s *S) Crowd(namespace, gateway, domain string, from, to int) {
	s.T.Helper()
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	numbers := make(chan int)
	var wait sync.WaitGroup
	for range crowdWorkers {
		wait.Go(func() {
			for i := range numbers {
				route := s.Route(fmt.Sprintf("crowd-%d", i), gateway, fmt.Sprintf("crowd-%d.%s", i, domain))
				if _, err := s.Gateway.GatewayV1().HTTPRoutes(namespace).Create(ctx, route, metav1.CreateOptions{}); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := from; i < to && ctx.Err() == nil; i++ {
		numbers <- i
	}
	close(numbers)
	wait.Wait()
	s.Must(context.Cause(ctx))
}

// Route is an HTTPRoute from one host to the Service web, at a Gateway of the scenario's namespace.
func (s *S) Route(name, gateway, host string) *gatewayv1.HTTPRoute {
	namespace, port := gatewayv1.Namespace(s.Namespace), gatewayv1.PortNumber(80)
	route := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Name: name}}
	route.Spec.ParentRefs = []gatewayv1.ParentReference{{Name: gatewayv1.ObjectName(gateway), Namespace: &namespace}}
	route.Spec.Hostnames = []gatewayv1.Hostname{gatewayv1.Hostname(host)}
	backend := gatewayv1.HTTPBackendRef{}
	backend.Name, backend.Port = "web", &port
	route.Spec.Rules = []gatewayv1.HTTPRouteRule{{BackendRefs: []gatewayv1.HTTPBackendRef{backend}}}
	return route
}

// AwaitRoutes waits until so many HTTPRoutes of a namespace are accepted by all of their parents.
func (s *S) AwaitRoutes(namespace string, want int) {
	s.T.Helper()
	s.Within(5*Patience, fmt.Sprintf("%d accepted HTTPRoutes in %s", want, namespace), func() error {
		// From the API server's cache: it is a long list, asked for again and again.
		list, err := s.Gateway.GatewayV1().HTTPRoutes(namespace).List(s.ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return err
		}
		got, last := 0, errors.New("no route")
		for _, route := range list.Items {
			if err := accepted(route.Status.RouteStatus, len(route.Spec.ParentRefs), route.Generation); err != nil {
				last = fmt.Errorf("%s: %w", route.Name, err)
				continue
			}
			got++
		}
		if got != want {
			time.Sleep(500 * time.Millisecond)
			return fmt.Errorf("there are %d of %d; %w", got, len(list.Items), last)
		}
		return nil
	})
}

// Disband deletes all HTTPRoutes of a namespace. The API server aborts a request after a minute; on a busy machine it has
// deleted only some of thousands by then, so the request is repeated.
func (s *S) Disband(namespace string) {
	s.T.Helper()
	routes := s.Gateway.GatewayV1().HTTPRoutes(namespace)
	s.Eventually("the routes of "+namespace+" are deleted", func() error {
		return routes.DeleteCollection(s.ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
	})
}
