package kit

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"portcullis.dev/e2e/internal/cluster"
)

// Load asks for the same thing over and over, from several workers.
type Load struct {
	// Client is what each worker has another of.
	Client *Client
	URL    string
	Want   Want
	// Workers keep their connection; Fresh ones open one for each request.
	Workers, Fresh int
	// Pace is the pause between two requests of a worker; 5 ms when 0.
	Pace time.Duration
	// AtMost ends the load by itself; 10 minutes when 0.
	AtMost time.Duration
}

// Running is a load that goes on until Stop.
type Running struct {
	s      *S
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mutex sync.Mutex
	count int
	took  []time.Duration
	// failures are the first ones, with the time at which they happened; failed counts all.
	failures []Failure
	failed   int
	begun    time.Time
}

// Report is what came of it.
type Report struct {
	Requests, Failed int
	Failures         []Failure
	Median, P99, Max time.Duration
}

// Failure is a request that was not answered as it should be.
type Failure struct {
	// After is when it was begun, from the load's beginning on.
	After time.Duration
	// Opened is when its connection was opened; zero where it got none.
	Opened time.Time
	Err    error
}

func (f Failure) String() string {
	return fmt.Sprintf("  after %6.2f s: %v", f.After.Seconds(), f.Err)
}

const (
	mostRequests = 2_000_000
	keptFailures = 10_000
	shownLines   = 20
)

// Start begins it, from an address of its own unless the client names one; it ends with the scenario at the latest.
func (s *S) Start(l Load) *Running {
	s.T.Helper()
	if l.Pace == 0 {
		l.Pace = 5 * time.Millisecond
	}
	if l.AtMost == 0 {
		l.AtMost = 10 * time.Minute
	}
	source := l.Client.Source
	if source == "" && l.Client.Netns == "" {
		source = nextLoadSource()
	}
	ctx, cancel := context.WithTimeout(s.ctx, l.AtMost)
	r := &Running{s: s, cancel: cancel, begun: time.Now()}
	for i := range l.Workers + l.Fresh {
		client := l.Client.Another(func(c *Client) { c.Fresh = i >= l.Workers; c.Source = source })
		r.wait.Go(func() { r.work(ctx, client, l) })
	}
	s.T.Cleanup(func() { cancel(); r.wait.Wait() })
	return r
}

// loadSources counts the addresses given out, from a random one on: a kept cluster remembers those of the run before.
var loadSources atomic.Uint32

func init() { loadSources.Store(rand.Uint32()) }

// nextLoadSource is an address that no load before this one came from. After a pod has been killed, connection tracking
// on the nodes remembers the connections to it for minutes, and sends a new connection that comes from the same address
// and port to the dead pod (`no route to host`). Real clients are many; here one address would stand for all of them,
// and come to the same port again within a few thousand connections.
func nextLoadSource() string {
	network := netip.MustParsePrefix(cluster.LoadSources)
	first := binary.BigEndian.Uint32(network.Addr().AsSlice())
	hosts := uint32(1)<<(32-network.Bits()) - 2 // without the network and broadcast addresses
	var address [4]byte
	binary.BigEndian.PutUint32(address[:], first+1+loadSources.Add(1)%hosts)
	return netip.AddrFrom4(address).String()
}

// Stop ends it.
func (r *Running) Stop() Report {
	r.cancel()
	r.wait.Wait()
	r.mutex.Lock()
	defer r.mutex.Unlock()
	slices.Sort(r.took)
	return Report{
		Requests: r.count, Failed: r.failed, Failures: r.failures,
		Median: quantile(r.took, 0.5), P99: quantile(r.took, 0.99), Max: quantile(r.took, 1),
	}
}

// StopClean ends it and fails the scenario when a request failed.
func (r *Running) StopClean(what string) Report {
	r.s.T.Helper()
	report := r.Stop()
	if report.Failed > 0 {
		r.s.T.Errorf("%s: %d of %d requests failed:\n%s", what, report.Failed, report.Requests, Lines(report.Failures))
	}
	if report.Requests == 0 {
		r.s.T.Errorf("%s: no request was made", what)
	}
	r.s.Figure("%s: %d requests, %d failed", what, report.Requests, report.Failed)
	return report
}

// Lines are the first failures below each other.
func Lines(failures []Failure) string {
	var text strings.Builder
	for _, failure := range failures[:min(len(failures), shownLines)] {
		fmt.Fprintln(&text, failure)
	}
	return text.String()
}

func (r *Running) work(ctx context.Context, client *Client, l Load) {
	defer client.Close()
	connection := &connection{}
	ctx = httptrace.WithClientTrace(ctx, connection.trace())
	for ctx.Err() == nil {
		begin := time.Now()
		err := one(ctx, client, l)
		if ctx.Err() != nil {
			return // it was broken off by us
		}
		if !r.note(begin, connection.opened, err) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(l.Pace):
		}
	}
}

// connection is the one of a worker's last request.
type connection struct {
	// kept is when the last one was opened; opened, the same, unless the request got none.
	kept, opened time.Time
}

func (c *connection) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		// Once more where the transport repeats a request whose kept connection was found dead.
		GetConn: func(string) { c.opened = time.Time{} },
		GotConn: func(got httptrace.GotConnInfo) {
			if !got.Reused {
				c.kept = time.Now()
			}
			c.opened = c.kept
		},
	}
}

func one(ctx context.Context, client *Client, l Load) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, l.URL, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	return l.Want.Check(answer)
}

// note keeps a result, and tells whether there may be more.
func (r *Running) note(begin, opened time.Time, err error) bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.count++
	r.took = append(r.took, time.Since(begin))
	if err != nil {
		r.failed++
		if len(r.failures) < keptFailures {
			r.failures = append(r.failures, Failure{After: begin.Sub(r.begun), Opened: opened, Err: err})
		}
	}
	return r.count < mostRequests
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))]
}
