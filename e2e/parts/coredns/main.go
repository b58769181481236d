// CoreDNS with the plugins that the cluster's Corefile uses and no others: its full set needs several times the modules.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
)

func main() {
	// The order is the one in which a query passes through them.
	dnsserver.Directives = []string{"reload", "errors", "health", "ready", "cache", "hosts", "kubernetes"}
	coremain.Run()
}
