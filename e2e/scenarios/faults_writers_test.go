package scenarios

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"portcullis.dev/e2e/internal/kit"
)

const (
	ourController = "portcullis.dev/gateway-controller"
	stranger      = "example.com/stranger"
	ourManager    = "portcullis"
)

// TestSecondWriter has another controller write statuses on our routes and our Gateway for a while, as service meshes
// and policy controllers do, and an owner who edits. Nobody's word is lost, and we answer edits alone.
func TestSecondWriter(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	s.Apply(gatewayAndRoute, "route", "writers.example.com", "web")
	s.Apply(httpRouteOf, "second", "route", "/second", "web")
	s.AwaitGateway(s.Namespace, "route")
	names := []string{"route", "second"}
	for _, name := range names {
		s.AwaitRoute(s.Namespace, name)
	}
	s.Eventually("the count of routes", func() error {
		gateway, err := s.Gateway.GatewayV1().Gateways(s.Namespace).Get(s.Context(), "route", metav1.GetOptions{})
		if err == nil && gateway.Status.Listeners[0].AttachedRoutes != 2 {
			err = fmt.Errorf("%d", gateway.Status.Listeners[0].AttachedRoutes)
		}
		return err
	})
	ctx, stop := context.WithTimeout(s.Context(), 40*time.Second)
	defer stop()
	w := &writers{s: s, theirs: map[string]bool{}}
	w.watch(ctx)
	edits := map[string]int{}
	w.wait.Go(func() {
		for count := 1; ctx.Err() == nil; count++ {
			for _, name := range names {
				w.onRoute(name, count)
			}
			w.onGateway("route", count)
			time.Sleep(20 * time.Millisecond)
		}
	})
	routes := s.Gateway.GatewayV1().HTTPRoutes(s.Namespace)
	for ctx.Err() == nil {
		for _, name := range names {
			edits["HTTPRoute/"+name]++
			patch := fmt.Sprintf(`[{"op":"add","path":"/spec/rules/0/timeouts","value":{"request":"%ds"}}]`, 30+edits["HTTPRoute/"+name])
			got, err := routes.Patch(s.Context(), name, types.JSONPatchType, []byte(patch), metav1.PatchOptions{})
			s.Must(err)
			w.isTheirs(got.UID, got.ResourceVersion)
		}
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Second):
		}
	}
	w.wait.Wait()
	for _, name := range names {
		s.AwaitRoute(s.Namespace, name) // of the last edit
		got, err := routes.Get(s.Context(), name, metav1.GetOptions{})
		s.Must(err)
		s.Must(w.checkRoute(got))
	}
	ours := w.end()
	total := 0
	for object, writes := range ours {
		total += writes
		// One for each edit; the Gateway has none, and has nothing new to say.
		if writes > edits[object] {
			t.Errorf("%s: %d writes of ours for %d edits", object, writes, edits[object])
		}
	}
	if len(w.theirs) < 100 {
		t.Errorf("the other controller wrote %d times alone", len(w.theirs))
	}
	s.Figure("%d writes of others, %d of ours for %d edits", len(w.theirs), total, edits["HTTPRoute/route"]+edits["HTTPRoute/second"])
}

const httpRouteOf = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: %[1]s }
spec:
  parentRefs: [{ name: %[2]s }]
  rules: [{ matches: [{ path: { value: %[3]s } }], backendRefs: [{ name: %[4]s, port: 80 }] }]
`

// writers is the other controller, and who counts.
type writers struct {
	s    *kit.S
	wait sync.WaitGroup
	end  func() map[string]int

	mutex sync.Mutex
	// theirs are the versions that others than us have made: UID/resourceVersion.
	theirs map[string]bool
	// said is the other controller's last word on each object.
	said sync.Map
}

func (w *writers) isTheirs(uid types.UID, version string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.theirs[string(uid)+"/"+version] = true
}

// onRoute writes an entry of the other controller's own, and a condition at a parent that is not ours.
func (w *writers) onRoute(name string, count int) {
	routes := w.s.Gateway.GatewayV1().HTTPRoutes(w.s.Namespace)
	route, err := routes.Get(w.s.Context(), name, metav1.GetOptions{})
	if w.failed(err) {
		return
	}
	if err := w.checkRoute(route); err != nil {
		w.s.T.Error(err)
	}
	message := fmt.Sprint(count)
	entry := theirEntry(route)
	if entry == nil {
		route.Status.Parents = append(route.Status.Parents, gatewayv1.RouteParentStatus{
			ParentRef: route.Spec.ParentRefs[0], ControllerName: stranger,
		})
		entry = &route.Status.Parents[len(route.Status.Parents)-1]
	}
	meta.SetStatusCondition(&entry.Conditions, metav1.Condition{
		Type: "Accepted", Status: metav1.ConditionTrue, Reason: "Looked", Message: message, ObservedGeneration: route.Generation,
	})
	if got, err := routes.UpdateStatus(w.s.Context(), route, metav1.UpdateOptions{FieldManager: "stranger"}); !w.failed(err) {
		w.isTheirs(got.UID, got.ResourceVersion)
		w.said.Store("route/"+name, message)
	}
}

// checkRoute tells whether everybody's entries are there.
func (w *writers) checkRoute(route *gatewayv1.HTTPRoute) error {
	own := false
	for _, parent := range route.Status.Parents {
		own = own || parent.ControllerName == ourController
	}
	if !own {
		return fmt.Errorf("HTTPRoute %s lost our entry: %+v", route.Name, route.Status.Parents)
	}
	said, any := w.said.Load("route/" + route.Name)
	if !any {
		return nil
	}
	if entry := theirEntry(route); entry == nil || len(entry.Conditions) != 1 || entry.Conditions[0].Message != said {
		return fmt.Errorf("HTTPRoute %s lost the word %v of another: %+v", route.Name, said, route.Status.Parents)
	}
	return nil
}

func theirEntry(route *gatewayv1.HTTPRoute) *gatewayv1.RouteParentStatus {
	for i, parent := range route.Status.Parents {
		if parent.ControllerName == stranger {
			return &route.Status.Parents[i]
		}
	}
	return nil
}

// onGateway writes conditions of another's type at the Gateway and at its listener.
func (w *writers) onGateway(name string, count int) {
	gateways := w.s.Gateway.GatewayV1().Gateways(w.s.Namespace)
	gateway, err := gateways.Get(w.s.Context(), name, metav1.GetOptions{})
	if w.failed(err) {
		return
	}
	listener := &gateway.Status.Listeners[0]
	said, any := w.said.Load("gateway/" + name)
	for _, conditions := range []*[]metav1.Condition{&gateway.Status.Conditions, &listener.Conditions} {
		found := meta.FindStatusCondition(*conditions, stranger)
		if any && (found == nil || found.Message != said) {
			w.s.T.Errorf("Gateway %s lost the word %v of another: %+v", name, said, *conditions)
		}
		if !meta.IsStatusConditionTrue(*conditions, "Programmed") {
			w.s.T.Errorf("Gateway %s lost what we say: %+v", name, *conditions)
		}
		meta.SetStatusCondition(conditions, metav1.Condition{
			Type: stranger, Status: metav1.ConditionTrue, Reason: "Looked", Message: fmt.Sprint(count), ObservedGeneration: gateway.Generation,
		})
	}
	if got, err := gateways.UpdateStatus(w.s.Context(), gateway, metav1.UpdateOptions{FieldManager: "stranger"}); !w.failed(err) {
		w.isTheirs(got.UID, got.ResourceVersion)
		w.said.Store("gateway/"+name, fmt.Sprint(count))
	}
}

// failed tells whether to leave it for now: a conflict is somebody's being faster.
func (w *writers) failed(err error) bool {
	if err != nil && !apierrors.IsConflict(err) {
		w.s.T.Error(err)
	}
	return err != nil
}

// watch notes every version of the objects from now on; end says how many of them are ours, by the object's name.
func (w *writers) watch(ctx context.Context) {
	w.s.T.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	type version struct {
		object, id string
		managers   []string
	}
	var versions []version
	var collecting sync.WaitGroup
	collect := func(kind, from string, open func(metav1.ListOptions) (watch.Interface, error)) {
		stream, err := open(metav1.ListOptions{ResourceVersion: from})
		w.s.Must(err)
		w.s.T.Cleanup(stream.Stop)
		collecting.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case event, more := <-stream.ResultChan():
					if !more {
						w.s.T.Errorf("the watch of %s ended early", kind)
						return
					}
					object, err := meta.Accessor(event.Object)
					if err != nil {
						w.s.T.Errorf("watch of %s: %v", kind, err)
						return
					}
					w.mutex.Lock()
					versions = append(versions, version{kind + "/" + object.GetName(), string(object.GetUID()) + "/" + object.GetResourceVersion(), managers(object)})
					w.mutex.Unlock()
				}
			}
		})
	}
	routes, gateways := w.s.Gateway.GatewayV1().HTTPRoutes(w.s.Namespace), w.s.Gateway.GatewayV1().Gateways(w.s.Namespace)
	listed, err := routes.List(ctx, metav1.ListOptions{})
	w.s.Must(err)
	collect("HTTPRoute", listed.ResourceVersion, func(o metav1.ListOptions) (watch.Interface, error) { return routes.Watch(ctx, o) })
	collect("Gateway", listed.ResourceVersion, func(o metav1.ListOptions) (watch.Interface, error) { return gateways.Watch(ctx, o) })
	w.end = func() map[string]int {
		time.Sleep(time.Second) // what is under way still
		cancel()
		collecting.Wait()
		ours := map[string]int{}
		for _, version := range versions {
			if !w.theirs[version.id] {
				ours[version.object]++
				if !slices.Contains(version.managers, ourManager) {
					w.s.T.Errorf("%s was written by one of %v, and none of them is ours", version.object, version.managers)
				}
			}
		}
		return ours
	}
}

// managers are those who have written an object's status by now.
func managers(object metav1.Object) (names []string) {
	for _, entry := range object.GetManagedFields() {
		if entry.Subresource == "status" {
			names = append(names, entry.Manager)
		}
	}
	return names
}
