package scenarios

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"portcullis.dev/e2e/internal/kit"
	"portcullis.dev/e2e/internal/portcullis"
)

// TestHelm upgrades the release with other values and rolls it back under load; uninstalls it, which leaves nothing; and
// installs it again.
func TestHelm(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	address := s.SharedAddress()
	_, load := underLoad(s, "web", "")
	// A port that the controller has added to the chart's Service, which upgrades have to leave alone.
	s.Apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: added }
spec:
  gatewayClassName: portcullis
  listeners: [{ name: http, port: 8088, protocol: HTTP, hostname: added.example.com }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: added }
spec:
  parentRefs: [{ name: added }]
  rules: [{ backendRefs: [{ name: web, port: 80 }] }]
`)
	s.AwaitGateway(s.Namespace, "added")
	added := kit.Load{
		Client: &kit.Client{Address: address, HTTPPort: 8088},
		URL:    "http://added.example.com/", Want: kit.Want{Service: "web"}, Workers: 1, Fresh: 1,
	}
	awaitReachable(s, added)
	addedLoad := s.Start(added)
	t.Cleanup(func() { // whatever happens in between, others need it
		if t.Failed() {
			s.HelmUpgrade()
		}
	})

	s.HelmUpgrade("--set", "image.tag="+portcullis.OtherTag, "--set", "replicas=3",
		"--set-string", "service.annotations.upgraded=yes", "--set", "log.level=debug", "--set", "podDisruptionBudget.maxUnavailable=2")
	is(s, portcullis.OtherTag, 3, "yes")
	s.Helm("rollback", portcullis.Release, "--wait", "--timeout", "3m")
	is(s, portcullis.Tag, 2, "")
	load.StopClean("upgraded and rolled back")
	addedLoad.StopClean("the same at an added port")

	s.Helm("uninstall", portcullis.Release, "--wait", "--timeout", "3m")
	s.AwaitNoTrace("portcullis")
	s.HelmUpgrade()
	if got := s.SharedAddress(); got != address {
		t.Logf("the address was %s and is %s", address, got)
	}
	is(s, portcullis.Tag, 2, "")
	s.AwaitGateway(s.Namespace, "added")
	added.Client = &kit.Client{Address: s.SharedAddress(), HTTPPort: 8088}
	s.Expect(added.Client, added.URL, added.Want)
	s.Figure("nothing left after uninstalling")
}

// is compares what runs with what the release's values say.
func is(s *kit.S, tag string, replicas int32, annotation string) {
	s.T.Helper()
	s.AwaitDeployment(portcullis.Namespace, portcullis.Release)
	deployment, err := s.Kube.AppsV1().Deployments(portcullis.Namespace).Get(s.Context(), portcullis.Release, metav1.GetOptions{})
	s.Must(err)
	service, err := s.Kube.CoreV1().Services(portcullis.Namespace).Get(s.Context(), portcullis.Release, metav1.GetOptions{})
	s.Must(err)
	want := fmt.Sprintf("image %s:%s, %d replicas, annotation %q", portcullis.Repository, tag, replicas, annotation)
	got := fmt.Sprintf("image %s, %d replicas, annotation %q", image(deployment), deployment.Status.ReadyReplicas, service.Annotations["upgraded"])
	if got != want {
		s.T.Errorf("there is %s, want %s", got, want)
	}
}

func image(d *appsv1.Deployment) string { return d.Spec.Template.Spec.Containers[0].Image }
