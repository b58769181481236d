package chart

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// Values under which nothing may be rendered, and what the message has to name.
var refusals = []struct{ values, want string }{
	// Keys that do not exist: of the chart, and of every object in it.
	{"replica: 2", "'replica' not allowed"},
	{"image: { name: a }", "at '/image': additional properties 'name'"},
	{"image: { pullSecrets: [registry] }", "at '/image/pullSecrets/0'"},
	{"service: { kind: NodePort }", "at '/service': additional properties 'kind'"},
	{"service: { nodePorts: { sctp: 30000 } }", "at '/service/nodePorts': additional properties 'sctp'"},
	{"admin: { ports: 9080 }", "at '/admin': additional properties 'ports'"},
	{"ingressClass: { isDefault: true }", "at '/ingressClass': additional properties 'isDefault'"},
	{"ingressNginx: { class: nginx }", "at '/ingressNginx': additional properties 'class'"},
	{"gatewayClass: { names: [a] }", "at '/gatewayClass': additional properties 'names'"},
	{"log: { file: a }", "at '/log': additional properties 'file'"},
	{"resources: { request: { cpu: 1 } }", "at '/resources': additional properties 'request'"},
	{"autoscaling: { targetMemory: 1 }", "at '/autoscaling': additional properties 'targetMemory'"},
	{"podDisruptionBudget: { minAvailable: 1 }", "at '/podDisruptionBudget': additional properties 'minAvailable'"},
	{"networkPolicy: { ingress: [] }", "at '/networkPolicy': additional properties 'ingress'"},
	{"networkPolicy: { admin: [{ namespace: a }] }", "at '/networkPolicy/admin/0': additional properties 'namespace'"},
	{"networkPolicy: { egress: [{ from: [] }] }", "at '/networkPolicy/egress/0': additional properties 'from'"},
	{"serviceMonitor: { path: / }", "at '/serviceMonitor': additional properties 'path'"},
	{"serviceAccount: { create: false }", "at '/serviceAccount': additional properties 'create'"},
	{"tolerations: [{ taint: a }]", "at '/tolerations/0': additional properties 'taint'"},
	{"affinity: { podAffinities: {} }", "at '/affinity': additional properties 'podAffinities'"},
	{
		"topologySpreadConstraints: [{ maxSkew: 1, topologyKey: a, whenUnsatisfiable: ScheduleAnyway, key: b }]",
		"at '/topologySpreadConstraints/0': additional properties 'key'",
	},

	// Values that can be of no use.
	{"ingressNginx: { enabled: 'yes' }", "at '/ingressNginx/enabled'"},
	{"ingressNginx: { metrics: 'yes' }", "at '/ingressNginx/metrics'"},
	{"image: { repository: 'Registry Example' }", "at '/image/repository'"},
	{"image: { tag: 'a b' }", "at '/image/tag'"},
	{"image: { pullPolicy: Sometimes }", "at '/image/pullPolicy'"},
	{"kind: StatefulSet", "at '/kind'"},
	{"replicas: -1", "at '/replicas'"},
	{"replicas: two", "at '/replicas'"},
	{"service: { type: ExternalName }", "at '/service/type'"},
	{"service: { annotations: { a: 1 } }", "at '/service/annotations/a'"},
	{"service: { addPorts: 'no' }", "at '/service/addPorts'"},
	{"service: { externalTrafficPolicy: Nearest }", "at '/service/externalTrafficPolicy'"},
	{"service: { loadBalancerIP: lb.example.com }", "at '/service/loadBalancerIP'"},
	{"service: { loadBalancerIP: 192.0.2.256 }", "at '/service/loadBalancerIP'"},
	{"service: { loadBalancerSourceRanges: [10.0.0.0/33] }", "at '/service/loadBalancerSourceRanges/0'"},
	{"service: { externalIPs: [node-1] }", "at '/service/externalIPs/0'"},
	{"service: { ipFamilyPolicy: DualStack }", "at '/service/ipFamilyPolicy'"},
	{"service: { ipFamilies: [ipv4] }", "at '/service/ipFamilies/0'"},
	{"service: { ipFamilies: [IPv4, IPv4] }", "at '/service/ipFamilies'"},
	{"service: { nodePorts: { http: 70000 } }", "at '/service/nodePorts/http'"},
	{"service: { nodePorts: { udp: 30000 } }", "at '/service/nodePorts/udp'"},
	{"service: { nodePorts: { tcp: { '5432': 30432 } } }", "service.nodePorts.tcp: 5432 is not a port of tcp"},
	{"tcp: { '0': 'a/b:1' }", "'0' does not match pattern"},
	{"tcp: { http: 'a/b:1' }", "'http' does not match pattern"},
	{"tcp: { '5432': 'b:1' }", "at '/tcp/5432'"},
	{"udp: { '53': 'a/b:1:PROXI' }", "at '/udp/53'"},
	{"tcp: { '443': 'a/b:1' }", "tcp: port 443 is reserved"},
	{"tcp: { '1080': 'a/b:1' }", "tcp: the pods would bind port 9080 for port 1080, which is admin.port"},
	{"udp: { '60000': 'a/b:1' }", "udp: port 60000 exceeds 65535 with portOffset: 8000"},
	{"dedicated: { enabled: true }\ntcp: { '12000': 'a/b:1' }", "the pods would bind port 20000 for port 12000"},
	{"portOffset: 65093", "at '/portOffset'"},
	{"admin: { port: 80 }", "at '/admin/port'"},
	{"admin: { address: localhost }", "at '/admin/address'"},
	{"watchNamespaces: shop", "at '/watchNamespaces'"},
	{"namespaceSelector: [team]", "at '/namespaceSelector'"},
	{"watchNamespaces: [Shop]", "at '/watchNamespaces/0'"},
	{"watchNamespaces: [shop, shop]", "at '/watchNamespaces'"},
	{"ingressClass: { name: '' }", "at '/ingressClass/name'"},
	{"gatewayClass: { name: a b }", "at '/gatewayClass/name'"},
	{"dedicated: { enabled: sometimes }", "at '/dedicated/enabled'"},
	{"gatewayClass: { dedicatedName: '' }", "at '/gatewayClass/dedicatedName'"},
	{"defaultCertificate: wildcard", "at '/defaultCertificate'"},
	{"publishService: balancer", "at '/publishService'"},
	{"annotationsPrefix: ingress.example.com/", "at '/annotationsPrefix'"},
	{"sslRedirect: 308", "at '/sslRedirect'"},
	{"externalNames: cluster", "at '/externalNames'"},
	{"localBackends: 1", "at '/localBackends'"},
	{"trustedProxies: [example.com]", "at '/trustedProxies/0'"},
	{"proxyProtocol: ['::/129']", "at '/proxyProtocol/0'"},
	{"settings: { keep-alive: 60 }", "at '/settings/keep-alive'"},
	{"settings: { access-log: 'true' }", "invalid propertyName 'access-log'"},
	{"log: { format: xml }", "at '/log/format'"},
	{"log: { level: loud }", "at '/log/level'"},
	{"preStopDelay: 5", "at '/preStopDelay'"},
	{"drainTimeout: 1.5s", "at '/drainTimeout'"},
	{"terminationGracePeriodSeconds: 0", "at '/terminationGracePeriodSeconds'"},
	{"autoscaling: { maxReplicas: 0 }", "at '/autoscaling/maxReplicas'"},
	{"podDisruptionBudget: { maxUnavailable: 0 }", "at '/podDisruptionBudget/maxUnavailable'"},
	{"podDisruptionBudget: { maxUnavailable: 0% }", "at '/podDisruptionBudget/maxUnavailable'"},
	{"networkPolicy: { egress: [{ to: [{ ipBlock: { except: [] } }] }] }", "missing property 'cidr'"},
	{"serviceMonitor: { interval: 30 }", "at '/serviceMonitor/interval'"},
	{"priorityClassName: High", "at '/priorityClassName'"},
	{"nodeSelector: { a: true }", "at '/nodeSelector/a'"},
	{"podLabels: { a: 1 }", "at '/podLabels/a'"},
	{"extraArgs: [workers]", "at '/extraArgs/0'"},

	// Values that contradict each other, or would do nothing.
	{"ingressNginx: { publishStatus: true }", "ingressNginx.publishStatus does nothing"},
	{"{ ingressNginx: { enabled: true }, ingressClass: { controllerName: k8s.io/ingress-nginx } }", "choose one of the two"},
	{"image: { repository: '' }", "image.repository: no image is published yet"},
	{"hostNetwork: true", "portOffset: 8000 with hostNetwork"},
	{"portOffset: 0", "portOffset: 0 makes the pods bind port 80,"},
	{"portOffset: 943", "portOffset: 943 makes the pods bind port 1023,"},
	{"{ portOffset: 19920, dedicated: { enabled: true } }", "portOffset: 19920 makes the pods bind port 20000;"},
	{"{ portOffset: 29556, dedicated: { enabled: true } }", "portOffset: 29556 makes the pods bind port 29999;"},
	{"portOffset: 9000", "admin.port: 9080 is the port that the pods bind for listeners of port 80"},
	{"admin: { port: 8443 }", "admin.port: 8443 is the port that the pods bind for listeners of port 443"},
	{"{ admin: { port: 20000 }, dedicated: { enabled: true } }", "admin.port: 20000;"},
	{"{ crds: { install: false }, dedicated: { enabled: true } }", "dedicated.enabled: requires the kind GatewayParameters"},
	{"admin: { address: 127.0.0.1 }", "admin.address: only with hostNetwork"},
	{"service: { type: NodePort, loadBalancerIP: 192.0.2.1 }", "service.loadBalancerIP has no effect"},
	{"service: { type: ClusterIP, loadBalancerClass: a }", "service.loadBalancerClass has no effect"},
	{"service: { type: NodePort, loadBalancerSourceRanges: [10.0.0.0/8] }", "service.loadBalancerSourceRanges has no effect"},
	{"service: { type: ClusterIP, nodePorts: { https: 30443 } }", "service.nodePorts has no effect"},
	{"service: { nodePorts: { http: 30000, https: 30000 } }", "service.nodePorts: http and https cannot be the same"},
	{"service: { type: ClusterIP, externalTrafficPolicy: Local }", "service.externalTrafficPolicy: Local has no effect"},
	{"service: { ipFamilies: [IPv4, IPv6] }", "service.ipFamilies: two families require"},
	{"{ kind: DaemonSet, autoscaling: { enabled: true } }", "autoscaling.enabled: a DaemonSet"},
	{"autoscaling: { enabled: true, minReplicas: 11 }", "autoscaling.minReplicas: 11 is more than autoscaling.maxReplicas: 10"},
	{"{ autoscaling: { enabled: true }, resources: { requests: { cpu: null } } }", "autoscaling.enabled: requires resources.requests.cpu"},
	{"terminationGracePeriodSeconds: 35", "terminationGracePeriodSeconds: 35 would abort requests"},
	{"drainTimeout: 40s", "require more than 45 s"},
	{"drainTimeout: 1h1m1s1ms", "require more than 3667 s"},
	{"preStopDelay: 15001ms", "require more than 46 s"},
	{"settings: { worker-shutdown-timeout: 240s }", "settings.worker-shutdown-timeout: 240s require more than 245 s"},
	{"settings: { worker-shutdown-timeout: '40' }", "settings.worker-shutdown-timeout: 40s require more than 45 s"},
	{"podLabels: { app.kubernetes.io/name: other }", "podLabels: app.kubernetes.io/name"},
	{"{ hostNetwork: true, portOffset: 0, networkPolicy: { enabled: true } }", "networkPolicy.enabled has no effect"},
	{"{ watchNamespaces: [shop], publishService: edge/balancer }", "publishService: namespace edge is not one of watchNamespaces"},
	{"{ watchNamespaces: [shop], defaultCertificate: media/tls }", "defaultCertificate: namespace media is not one of watchNamespaces"},
	{"serviceMonitor: { enabled: true }", "serviceMonitor.enabled: the API server does not have monitoring.coreos.com/v1 ServiceMonitor"},
	{"{ serviceMonitor: { enabled: true }, hostNetwork: true, portOffset: 0 }", "serviceMonitor.enabled: with hostNetwork"},
	{
		"{ serviceMonitor: { enabled: true }, hostNetwork: true, portOffset: 0, admin: { address: 127.0.0.2 } }",
		"serviceMonitor.enabled: with hostNetwork",
	},
	{"{ serviceMonitor: { enabled: true }, networkPolicy: { enabled: true } }", "serviceMonitor.enabled: networkPolicy.admin"},
	{"gatewayClass: { name: portcullis-dedicated }", "gatewayClass: name and dedicatedName"},
}

func TestRefuses(t *testing.T) {
	for _, r := range refusals {
		t.Run(r.values, func(t *testing.T) {
			t.Parallel()
			_, err := templateWith(t, r.values)
			if err == nil {
				t.Fatalf("rendered; want a message with %q", r.want)
			}
			if !strings.Contains(err.Error(), r.want) {
				t.Fatalf("%v\nwant a message with %q", err, r.want)
			}
		})
	}
}

// What is just inside of what is refused.
func TestTakes(t *testing.T) {
	for _, values := range []string{
		"portOffset: 944",
		"portOffset: 19476",
		"portOffset: 19920",
		"{ portOffset: 19476, dedicated: { enabled: true } }",
		"portOffset: 29920",
		"portOffset: 65092",
		"admin: { port: 30000 }",
		"terminationGracePeriodSeconds: 36",
		"{ preStopDelay: 0s, drainTimeout: 44s999ms }",
		"{ settings: { worker-shutdown-timeout: 240s }, terminationGracePeriodSeconds: 246 }",
		"settings: { worker-shutdown-timeout: '39' }",
		"settings: { worker-shutdown-timeout: '0' }",
		"podDisruptionBudget: { maxUnavailable: 100% }",
		"{ kind: DaemonSet, podDisruptionBudget: { enabled: true } }",
		"{ watchNamespaces: [shop], defaultCertificate: shop/tls }",
		"service: { type: ClusterIP, externalTrafficPolicy: Local, externalIPs: ['2001:db8::1'] }",
		"trustedProxies: [192.0.2.1, 10.0.0.0/32, '::1', '2001:db8::/128', '::ffff:192.0.2.1/120']",
		"global: { anything: { of: [a, parent, chart] } }",
	} {
		t.Run(values, func(t *testing.T) {
			t.Parallel()
			text, err := templateWith(t, values)
			if err != nil {
				t.Fatal(err)
			}
			decode(t, text)
		})
	}
}

// templateWith renders the default values but for these.
func templateWith(t *testing.T, values string) (string, error) {
	t.Helper()
	// The folder of a test is called after it, and helm takes a comma in a path for the next file.
	file, err := os.CreateTemp("", "values-*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(file.Name()) })
	_, err = file.WriteString(values)
	if err = errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	return template(t, chartDir, "--values", "testdata/default/values.yaml", "--values", file.Name())
}
