package conformance

// LeftOut is a test that cannot pass if all Gateways share one address, and the reason.
type LeftOut struct {
	Test, Reason string
}

// OneAddress is the complete list of tests that are skipped for a GatewayClass with Gateways that share one address.
// docs/gateway-api.md has the same list.
var OneAddress = []LeftOut{
	{"GRPCRouteMultipleRoutesAttachmentSameHostnameIntersection", "a request for abc.example.com has to reach a Gateway with *.example.com, although another Gateway has abc.example.com on the same port"},
	{"GatewayHTTPListenerIsolation", "two Gateways have HTTP listeners on port 80 with the same hostnames"},
	{"GatewayInvalidTLSBackendConfiguration", "five Gateways have an HTTP listener on port 80 without a hostname"},
	{"GatewayModifyListeners", "two Gateways have an HTTPS listener on port 443 with the hostname secure.test.com"},
	{"HTTPRouteMultipleRoutesAttachmentSameHostnameIntersection", "several Gateways have HTTP listeners on port 80 with the same hostnames"},
	{"ListenerSetProtocolConflict", "a TCP listener uses port 80, which is reserved for HTTP on the shared address"},
	{"TLSRouteInvalidNoMatchingListener", "two Gateways have a listener on port 443 without a hostname, one for HTTPS and one for TLS"},
	{"TLSRouteMultipleRoutesAttachmentSameHostnameIntersection", "a connection for abc.example.com has to reach a Gateway with *.example.com, although another Gateway has abc.example.com on the same port"},
}

// Names are the tests' names in the order of the list.
func Names(list []LeftOut) []string {
	var names []string
	for _, test := range list {
		names = append(names, test.Test)
	}
	return names
}
