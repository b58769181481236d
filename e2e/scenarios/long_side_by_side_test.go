package scenarios

import (
	"context"
	"fmt"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"portcullis.dev/e2e/internal/kit"
)

// sideBySide has two Ingresses of class nginx, one for each way to name the class, and one of class portcullis.
const sideBySide = `
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: { name: nginx }
spec: { controller: k8s.io/ingress-nginx }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: by-field }
spec:
  ingressClassName: nginx
  rules:
    - host: by-field.side.example.com
      http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }] }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: by-annotation, annotations: { kubernetes.io/ingress.class: nginx } }
spec:
  rules:
    - host: by-annotation.side.example.com
      http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }] }
`

// ofOwnClass is an Ingress of class portcullis, with a status that Portcullis writes.
const ofOwnClass = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: %[1]s }
spec:
  ingressClassName: portcullis
  rules:
    - host: %[1]s.side.example.com
      http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }] }
`

// otherController stands for ingress-nginx: it writes the statuses of the Ingresses of class nginx.
type otherController struct {
	s *kit.S
	// written is the resourceVersion of each of its Ingresses after its last write.
	written map[string]string
}

const otherAddress = "192.0.2.1"

// publish writes the address of the other controller to the statuses.
func (o otherController) publish() {
	o.s.T.Helper()
	for name := range o.written {
		o.s.Eventually("a status of the other controller in Ingress "+name, func() error {
			ingress := o.get(name)
			ingress.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: otherAddress}}
			options := metav1.UpdateOptions{FieldManager: "nginx-ingress-controller"}
			updated, err := o.s.Kube.NetworkingV1().Ingresses(o.s.Namespace).UpdateStatus(o.s.Context(), ingress, options)
			if err == nil {
				o.written[name] = updated.ResourceVersion
			}
			return err
		})
	}
}

// unchanged expects that nobody has written the Ingresses since publish. Portcullis has seen them by then: it has written
// the status of an Ingress that was created after the last change to them.
func (o otherController) unchanged(marker string) {
	o.s.T.Helper()
	o.s.Apply(ofOwnClass, marker)
	o.s.AwaitIngress(marker)
	for name, version := range o.written {
		if ingress := o.get(name); ingress.ResourceVersion != version {
			o.s.T.Errorf("Ingress %s was written:\n%v\n%+v", name, ingress.ManagedFields, ingress.Status)
		}
	}
}

// awaitAddress waits until the statuses have this address and no other.
func (o otherController) awaitAddress(address string) {
	o.s.T.Helper()
	for name := range o.written {
		o.s.Eventually("address "+address+" of Ingress "+name, func() error {
			got := o.get(name).Status.LoadBalancer.Ingress
			if len(got) != 1 || got[0].IP != address {
				return fmt.Errorf("its status has %+v", got)
			}
			return nil
		})
	}
}

func (o otherController) get(name string) *networkingv1.Ingress {
	o.s.T.Helper()
	ingress, err := o.s.Kube.NetworkingV1().Ingresses(o.s.Namespace).Get(o.s.Context(), name, metav1.GetOptions{})
	o.s.Must(err)
	return ingress
}

// TestLongSideBySide serves the Ingresses of class nginx while another controller owns their statuses, takes over the
// statuses, and returns them.
func TestLongSideBySide(t *testing.T) {
	s := kit.New(t)
	s.Echo("web")
	address := s.SharedAddress()
	t.Cleanup(func() {
		_ = s.Kube.NetworkingV1().IngressClasses().Delete(context.Background(), "nginx", metav1.DeleteOptions{})
	})
	s.Apply(sideBySide)
	nginx := otherController{s: s, written: map[string]string{"by-field": "", "by-annotation": ""}}
	nginx.publish()
	load := kit.Load{
		Client: &kit.Client{Address: address},
		URL:    "http://by-field.side.example.com/", Want: kit.Want{Service: "web"}, Workers: 4, Fresh: 2,
	}
	answers := func(want kit.Want) {
		t.Helper()
		for name := range nginx.written {
			s.ExpectOfEach(load.Client, "http://"+name+".side.example.com/", want)
		}
	}
	nginx.unchanged("installed")
	answers(kit.Want{Status: 404})

	s.WithValues("--set", "ingressNginx.enabled=true")
	answers(kit.Want{Service: "web"})
	nginx.unchanged("enabled")
	awaitReachable(s, load)
	running := s.Start(load)

	s.WithValues("--set", "ingressNginx.publishStatus=true")
	nginx.awaitAddress(address)
	answers(kit.Want{Service: "web"}) // The annotation with the class is still there.

	s.WithValues("--set", "ingressNginx.publishStatus=false")
	nginx.awaitAddress(address) // until the other controller replaces it
	nginx.publish()
	nginx.unchanged("returned")
	running.StopClean("statuses taken over and returned")

	s.WithoutValues()
	answers(kit.Want{Status: 404})
	nginx.unchanged("disabled")
}
