//go:build tools

// Package helm pins the client that installs our chart.
package helm

import _ "helm.sh/helm/v4/pkg/cmd"
