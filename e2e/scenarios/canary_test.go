package scenarios

import (
	"fmt"
	"math"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"portcullis.dev/e2e/internal/kit"
)

// released is an Ingress of the Service app.
const released = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: app }
spec:
  ingressClassName: portcullis
  rules:
    - host: canary.example.com
      http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: app, port: { number: 80 } } } }] }
`

// canaryOf is the Ingress that Flagger derives from it for the Service app-canary.
const canaryOf = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: app-canary
  annotations:
    nginx.ingress.kubernetes.io/canary: "true"
    nginx.ingress.kubernetes.io/canary-weight: "0"
spec:
  ingressClassName: portcullis
  rules:
    - host: canary.example.com
      http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: app-canary, port: { number: 80 } } } }] }
`

// TestCanary shifts requests to a canary by its weight, as Flagger does with ingress-nginx: forward in steps, and back at
// once.
func TestCanary(t *testing.T) {
	s := kit.New(t)
	s.Echo("app", "app-canary")
	s.Apply(released)
	load := kit.Load{
		Client: &kit.Client{Address: s.AwaitIngress("app")},
		URL:    "http://canary.example.com/", Workers: 4, Fresh: 2,
	}
	awaitReachable(s, load)
	running := s.Start(load)
	s.Apply(canaryOf)
	shares := ""
	for _, weight := range []int{0, 10, 50, 100, 0} {
		patch := fmt.Sprintf(`{"metadata":{"annotations":{"nginx.ingress.kubernetes.io/canary-weight":"%d"}}}`, weight)
		_, err := s.Kube.NetworkingV1().Ingresses(s.Namespace).
			Patch(s.Context(), "app-canary", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		s.Must(err)
		shares += fmt.Sprintf(" %d: %.1f,", weight, 100*canaryShare(s, load, weight))
	}
	running.StopClean("weights changed")
	s.Figure("weight: share in %%:%s", shares[:len(shares)-1])
}

// canaryShare waits until each pod applies a weight, and returns the share of the canary then.
func canaryShare(s *kit.S, load kit.Load, weight int) float64 {
	s.T.Helper()
	const requests = 400
	// Five standard deviations: fewer than one in a million samples of the right share are further off.
	p := float64(weight) / 100
	most := 5 * math.Sqrt(requests*p*(1-p))
	canaries := 0
	clients := s.ClientsOfPods(load.Client)
	for _, client := range clients {
		sample := func() (int, error) {
			count := 0
			for range requests {
				answer, err := client.Get(s.Context(), load.URL)
				if err != nil {
					return 0, err
				}
				if err := load.Want.Check(answer); err != nil {
					return 0, err
				}
				if answer.Echo.Service == "app-canary" {
					count++
				}
			}
			if math.Abs(float64(count)-p*requests) > most {
				return 0, fmt.Errorf("the canary answered %d of %d requests with weight %d", count, requests, weight)
			}
			return count, nil
		}
		s.Eventually(fmt.Sprintf("weight %d at %s", weight, client.Address), func() error {
			_, err := sample()
			return err
		})
		// From then on, no sample is off.
		count, err := sample()
		s.Must(err)
		canaries += count
	}
	return float64(canaries) / float64(requests*len(clients))
}
