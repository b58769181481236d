//go:build tools

// Package echo pins the backend that scenarios and the conformance suite talk to.
package echo

import _ "sigs.k8s.io/gateway-api-conformance-images/echo-basic/grpcechoserver"
