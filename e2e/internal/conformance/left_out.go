package conformance

// LeftOut is a test that cannot pass where all Gateways have one address, and why.
type LeftOut struct {
	Test, Reason string
}

// OneAddress are the tests that are not run against a GatewayClass whose Gateways share one address: all that are not,
// and nothing else. docs/gateway-api.md has the same list.
var OneAddress = []LeftOut{}

// Names are the tests' names in the order of the list.
func Names(list []LeftOut) []string {
	var names []string
	for _, test := range list {
		names = append(names, test.Test)
	}
	return names
}
