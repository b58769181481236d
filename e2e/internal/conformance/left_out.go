package conformance

// LeftOut is a test that cannot pass where all Gateways have one address, and why.
type LeftOut struct {
	Test, Reason string
}

// OneAddress are the tests that are not run against a GatewayClass whose Gateways share one address: all that are not,
// and nothing else. docs/gateway-api.md has the same list.
var OneAddress = []LeftOut{
	{"GRPCRouteMultipleRoutesAttachmentSameHostnameIntersection", "a request for abc.example.com is to reach a Gateway with *.example.com, while another Gateway has abc.example.com on the same port"},
	{"GatewayHTTPListenerIsolation", "two Gateways have listeners for HTTP on port 80 with the same hostnames"},
	{"GatewayInvalidTLSBackendConfiguration", "five Gateways have a listener for HTTP on port 80 without a hostname"},
	{"GatewayModifyListeners", "two Gateways have a listener for HTTPS on port 443 with the hostname secure.test.com"},
	{"HTTPRouteMultipleRoutesAttachmentSameHostnameIntersection", "several Gateways have listeners for HTTP on port 80 with the same hostnames"},
	{"ListenerSetProtocolConflict", "a listener for TCP has port 80, which is for HTTP alone at the shared address"},
	{"TLSRouteInvalidNoMatchingListener", "two Gateways have a listener on port 443 without a hostname, one for HTTPS and one for TLS"},
	{"TLSRouteMultipleRoutesAttachmentSameHostnameIntersection", "a connection for abc.example.com is to reach a Gateway with *.example.com, while another Gateway has abc.example.com on the same port"},
}

// Names are the tests' names in the order of the list.
func Names(list []LeftOut) []string {
	var names []string
	for _, test := range list {
		names = append(names, test.Test)
	}
	return names
}
