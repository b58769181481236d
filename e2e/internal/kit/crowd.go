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

// crowdWorkers is the number of concurrent calls of InParallel; the API server has two processors for all of them.
const crowdWorkers = 16

// Crowd makes the HTTPRoutes number `from` up to `to` in a namespace, each with a host of its own below the domain. They
// attach to a Gateway of the scenario's namespace, and their backend is the Service web of their own.
func (s *S) Crowd(namespace, gateway, domain string, from, to int) {
	s.T.Helper()
	s.Must(InParallel(s.ctx, from, to, func(ctx context.Context, i int) error {
		route := s.Route(fmt.Sprintf("crowd-%d", i), gateway, fmt.Sprintf("crowd-%d.%s", i, domain))
		_, err := s.Gateway.GatewayV1().HTTPRoutes(namespace).Create(ctx, route, metav1.CreateOptions{})
		return err
	}))
}

// InParallel calls do for the numbers from `from` up to `to` concurrently, until one call returns an error or the context
// ends, and returns that error.
func InParallel(ctx context.Context, from, to int, do func(ctx context.Context, number int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	numbers := make(chan int)
	var wait sync.WaitGroup
	for range crowdWorkers {
		wait.Go(func() {
			for number := range numbers {
				if err := do(ctx, number); err != nil {
					cancel(err)
				}
			}
		})
	}
	for number := from; number < to && ctx.Err() == nil; number++ {
		numbers <- number
	}
	close(numbers)
	wait.Wait()
	return context.Cause(ctx)
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
