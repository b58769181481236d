package kit

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"portcullis.dev/e2e/internal/cluster"
	"portcullis.dev/e2e/internal/portcullis"
)

// EchoImage says what it received (HTTP, h2c, WebSocket at /ws, gRPC on demand).
const EchoImage = "registry.k8s.io/gateway-api/conformance/echo-basic:v0.1.0"

// echoText has a preStop hook, which gives proxies time to learn that the pod ends, as every rolling update needs; the
// server itself ends at once.
const echoText = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: %[1]s, labels: { app: %[1]s } }
spec:
  replicas: %[2]d
  selector: { matchLabels: { app: %[1]s } }
  template:
    metadata: { labels: { app: %[1]s } }
    spec:
      enableServiceLinks: false
      terminationGracePeriodSeconds: 10
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector: { matchLabels: { app: %[1]s } }
      containers:
        - name: echo
          image: %[4]s
          imagePullPolicy: Never
          env:
            - { name: SERVICE_NAME, value: %[1]s }
            - { name: NAMESPACE, valueFrom: { fieldRef: { fieldPath: metadata.namespace } } }
            - { name: POD_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
%[3]s          ports:
            - { name: http, containerPort: 3000 }
            - { name: h2c, containerPort: 3001 }
          readinessProbe: { tcpSocket: { port: 3000 }, periodSeconds: 1 }
          lifecycle: { preStop: { sleep: { seconds: 3 } } }
          resources: { requests: { cpu: 1m } }
---
apiVersion: v1
kind: Service
metadata: { name: %[1]s, labels: { app: %[1]s } }
spec:
  selector: { app: %[1]s }
  ports:
    - { name: http, port: 80, targetPort: http }
    - { name: h2c, port: 81, targetPort: h2c, appProtocol: kubernetes.io/h2c }
`

// Echo makes Deployments of the echo server with a Service each, in the scenario's namespace, and waits for them.
func (s *S) Echo(names ...string) {
	s.T.Helper()
	for _, name := range names {
		s.EchoIn(s.Namespace, name, 1)
	}
	for _, name := range names {
		s.AwaitDeployment(s.Namespace, name)
	}
}

// EchoIn makes one with a number of replicas, and does not wait for it. Settings are NAME=VALUE for its environment.
func (s *S) EchoIn(namespace, name string, replicas int, settings ...string) {
	s.T.Helper()
	var env strings.Builder
	for _, setting := range settings {
		key, value, _ := strings.Cut(setting, "=")
		fmt.Fprintf(&env, "            - { name: %s, value: %q }\n", key, value)
	}
	s.ApplyTo(namespace, echoText, name, replicas, env.String(), EchoImage)
}

// OwnEcho makes one of Portcullis's own echo server, which says whom a request came from, and waits for it.
func (s *S) OwnEcho(name string, replicas int) {
	s.T.Helper()
	image := portcullis.Repository + ":" + portcullis.Tag + "\n          args: [echo, '--listen=[::]:3000']"
	s.ApplyTo(s.Namespace, echoText, name, replicas, "", image)
	s.AwaitDeployment(s.Namespace, name)
}

// SignIn creates a service for external authentication, like oauth2-proxy, and waits until it is available.
func (s *S) SignIn(name string) {
	s.T.Helper()
	s.ApplyTo(s.Namespace, echoText, name, 1, "", cluster.SignInImage)
	s.AwaitDeployment(s.Namespace, name)
}

// AwaitDeployment waits until all pods of a Deployment are of its newest version and available, and no others are left.
func (s *S) AwaitDeployment(namespace, name string) {
	s.T.Helper()
	s.Within(2*Patience, "Deployment "+namespace+"/"+name, func() error {
		d, err := s.Kube.AppsV1().Deployments(namespace).Get(s.ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		return rolledOut(d)
	})
}

func rolledOut(d *appsv1.Deployment) error {
	want := *d.Spec.Replicas
	got := d.Status
	if got.ObservedGeneration < d.Generation || got.UpdatedReplicas != want || got.AvailableReplicas != want || got.Replicas != want {
		return fmt.Errorf("of %d pods %d are new, %d available, %d in all", want, got.UpdatedReplicas, got.AvailableReplicas, got.Replicas)
	}
	return nil
}

// SharedAddress is that of the chart's Service.
func (s *S) SharedAddress() string {
	s.T.Helper()
	var address string
	s.Eventually("the address of Service "+portcullis.Namespace+"/"+portcullis.Release, func() (err error) {
		address, err = s.AddressOf(portcullis.Namespace, portcullis.Release)
		return err
	})
	return address
}

// AddressOf is a Service's address.
func (s *S) AddressOf(namespace, name string) (string, error) {
	service, err := s.Kube.CoreV1().Services(namespace).Get(s.ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		if ingress.IP != "" {
			return ingress.IP, nil
		}
	}
	return "", fmt.Errorf("Service %s/%s has no address", namespace, name)
}

// Pods are those of an app that are not ending.
func (s *S) Pods(namespace, selector string) []corev1.Pod {
	s.T.Helper()
	list, err := s.Kube.CoreV1().Pods(namespace).List(s.ctx, metav1.ListOptions{LabelSelector: selector})
	s.Must(err)
	var live []corev1.Pod
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			live = append(live, pod)
		}
	}
	return live
}

// AwaitIngress waits until an Ingress of the scenario's namespace has an address, which it returns.
func (s *S) AwaitIngress(name string) string {
	s.T.Helper()
	return s.AwaitIngressIn(s.Namespace, name)
}

// AwaitIngressIn is AwaitIngress in another namespace.
func (s *S) AwaitIngressIn(namespace, name string) string {
	s.T.Helper()
	var address string
	s.Eventually("the address of Ingress "+namespace+"/"+name, func() error {
		ingress, err := s.Kube.NetworkingV1().Ingresses(namespace).Get(s.ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, at := range ingress.Status.LoadBalancer.Ingress {
			if at.IP != "" {
				address = at.IP
				return nil
			}
		}
		return fmt.Errorf("its status is\n%s", text(networkingv1.IngressStatus(ingress.Status)))
	})
	return address
}

// AcceptedClass waits until a GatewayClass is accepted as it is now. The features that its status claims are final only then:
// the parameters of class portcullis-dedicated are created after everything else of the release. It does not end the scenario.
func (s *S) AcceptedClass(name string) (class *gatewayv1.GatewayClass, err error) {
	err = cluster.Until(s.ctx, Patience, "GatewayClass "+name, func(context.Context) error {
		class, err = s.Gateway.GatewayV1().GatewayClasses().Get(s.ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !holds(class.Status.Conditions, string(gatewayv1.GatewayClassConditionStatusAccepted), class.Generation) {
			return fmt.Errorf("its status is\n%s", text(class.Status))
		}
		return nil
	})
	return class, err
}

// AwaitGateway waits until a Gateway is programmed as it is now, and returns its address.
func (s *S) AwaitGateway(namespace, name string) string {
	s.T.Helper()
	var address string
	s.Eventually("Gateway "+namespace+"/"+name, func() error {
		gateway, err := s.Gateway.GatewayV1().Gateways(namespace).Get(s.ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !holds(gateway.Status.Conditions, string(gatewayv1.GatewayConditionProgrammed), gateway.Generation) || len(gateway.Status.Addresses) == 0 {
			return fmt.Errorf("its status is\n%s", text(gateway.Status))
		}
		address = gateway.Status.Addresses[0].Value
		return nil
	})
	return address
}

// AwaitRoute waits until every parent of a route has accepted it as it is now and all its references resolve.
func (s *S) AwaitRoute(namespace, name string) {
	s.T.Helper()
	s.Eventually("HTTPRoute "+namespace+"/"+name, func() error {
		route, err := s.Gateway.GatewayV1().HTTPRoutes(namespace).Get(s.ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		return accepted(route.Status.RouteStatus, len(route.Spec.ParentRefs), route.Generation)
	})
}

func accepted(status gatewayv1.RouteStatus, parents int, generation int64) error {
	for _, parent := range status.Parents {
		if holds(parent.Conditions, string(gatewayv1.RouteConditionAccepted), generation) &&
			holds(parent.Conditions, string(gatewayv1.RouteConditionResolvedRefs), generation) {
			parents--
		}
	}
	if parents > 0 {
		return fmt.Errorf("its status is\n%s", text(status))
	}
	return nil
}

func holds(conditions []metav1.Condition, kind string, generation int64) bool {
	found := meta.FindStatusCondition(conditions, kind)
	return found != nil && found.Status == metav1.ConditionTrue && found.ObservedGeneration == generation
}

func text(object any) string {
	out, err := yaml.Marshal(object)
	if err != nil {
		return err.Error()
	}
	return string(out)
}
