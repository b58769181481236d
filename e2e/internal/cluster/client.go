package cluster

import (
	"context"
	"net"
	"runtime"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	gateway "sigs.k8s.io/gateway-api/pkg/client/clientset/versioned"
)

// Clients speak to the API server from whichever namespace this process is in.
type Clients struct {
	Config  *rest.Config
	Kube    kubernetes.Interface
	Gateway gateway.Interface
	Dynamic dynamic.Interface
	Mapper  *restmapper.DeferredDiscoveryRESTMapper
}

// Clients makes them. Their connections are opened in the outside namespace.
func (c *Cluster) Clients() (*Clients, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 2000, 2000
	config.Dial = DialIn("/run/netns/" + c.Outside)
	config.WarningHandler = rest.NoWarnings{}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	gw, err := gateway.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kube.Discovery()))
	return &Clients{Config: config, Kube: kube, Gateway: gw, Dynamic: dyn, Mapper: mapper}, nil
}

// DialIn opens connections in another network namespace: a socket belongs to the one that its thread was in.
func DialIn(netns string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		there, err := unix.Open(netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		defer unix.Close(there)
		runtime.LockOSThread()
		here, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			return nil, err
		}
		defer unix.Close(here)
		if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			return nil, err
		}
		conn, dialErr := (&net.Dialer{}).DialContext(ctx, network, address)
		if err := unix.Setns(here, unix.CLONE_NEWNET); err != nil {
			// The thread stays locked, and ends with this goroutine instead of serving others in the wrong place.
			if conn != nil {
				_ = conn.Close()
			}
			return nil, err
		}
		runtime.UnlockOSThread()
		return conn, dialErr
	}
}
