//go:build tools

// Package etcd pins the cluster's store.
package etcd

import _ "go.etcd.io/etcd/server/v3/etcdmain"
