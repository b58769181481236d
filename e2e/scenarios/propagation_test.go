package scenarios

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"portcullis.dev/e2e/internal/kit"
)

// crowdGateway takes routes of all namespaces for the hosts below a domain.
const crowdGateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: crowd }
spec:
  gatewayClassName: portcullis
  listeners:
    - name: http
      port: 80
      protocol: HTTP
      hostname: "*.%s"
      allowedRoutes: { namespaces: { from: All } }
`

// TestPropagation prints how long a route takes to be served, and to be gone again, from the API server's answer on,
// beside few other routes and many. That each of them is, and is never answered wrongly meanwhile, is what it asserts.
func TestPropagation(t *testing.T) {
	s := kit.New(t)
	const domain = "propagation.example.com"
	crowd := s.NewNamespace("crowd")
	s.EchoIn(crowd, "web", 1)
	s.Echo("web")
	s.AwaitDeployment(crowd, "web")
	s.Apply(crowdGateway, domain)
	client := &kit.Client{Address: s.AwaitGateway(s.Namespace, "crowd")}
	s.Expect(client, "http://nobody."+domain+"/", kit.Want{Status: 404})

	rows := &strings.Builder{}
	table := tabwriter.NewWriter(rows, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\t\tcreate\t-> 200\t\t\tdelete\t-> 404\t\t\tmemory\t\t\t\t")
	fmt.Fprintln(table, "routes\tAPI call\tmin\tmedian\tp99\tmax\tmin\tmedian\tp99\tmax\tresident\tpeak\tworking set\tload\t")
	have := 0
	for _, routes := range s.Routes {
		s.Crowd(crowd, "crowd", domain, have, routes)
		s.AwaitRoutes(crowd, routes)
		have = routes
		if routes > 0 {
			s.Expect(client, fmt.Sprintf("http://crowd-%d.%s/", routes-1, domain), kit.Want{Service: "web"})
		}
		m := measure(s, client, domain, strconv.Itoa(routes), ofRoutes(s))
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t\n", routes, milliseconds(middle(m.call)), spread(m.created), spread(m.deleted), memory(s), loadAverage())
		s.Figure("%d routes: create %s ms, delete %s ms", routes, milliseconds(middle(m.created)), milliseconds(middle(m.deleted)))
	}
	s.Must(table.Flush())
	text := fmt.Sprintf("%d samples each; times in ms, memory in MB for each pod\n%s", s.Samples, rows)
	fmt.Print(text)
	s.Must(os.WriteFile(filepath.Join(s.Artefacts, "propagation.txt"), []byte(text), 0o644))
	s.Disband(crowd)
	if have > 0 {
		s.Expect(client, "http://crowd-0."+domain+"/", kit.Want{Status: 404})
	}
}

type measured struct{ call, created, deleted []time.Duration }

// samples are the objects that measure creates and deletes: each serves one host by the Service web.
type samples struct {
	create func(name, host string) error
	delete func(name string) error
}

// ofRoutes are HTTPRoutes at the Gateway crowd.
func ofRoutes(s *kit.S) samples {
	api := s.Gateway.GatewayV1().HTTPRoutes(s.Namespace)
	return samples{
		create: func(name, host string) error {
			_, err := api.Create(s.Context(), s.Route(name, "crowd", host), metav1.CreateOptions{})
			return err
		},
		delete: func(name string) error { return api.Delete(s.Context(), name, metav1.DeleteOptions{}) },
	}
}

// measure creates and deletes objects one after the other, and sends requests for each over the same connection.
func measure(s *kit.S, client *kit.Client, domain, label string, of samples) (m measured) {
	s.T.Helper()
	for i := range s.Samples {
		name := fmt.Sprintf("sample-%s-%d", label, i)
		host := name + "." + domain
		url := "http://" + host + "/"
		begin := time.Now()
		s.Must(of.create(name, host))
		m.call = append(m.call, time.Since(begin))
		m.created = append(m.created, poll(s, client, url, 404, 200))
		time.Sleep(pause)
		s.Must(of.delete(name))
		m.deleted = append(m.deleted, poll(s, client, url, 200, 404))
		time.Sleep(pause)
	}
	return m
}

// pause keeps changes apart: what one costs is measured, and not what a burst of them does.
const pause = 50 * time.Millisecond

// poll asks until the status turns from one to the other, and returns how long that took.
func poll(s *kit.S, client *kit.Client, url string, from, to int) time.Duration {
	s.T.Helper()
	begin := time.Now()
	for {
		answer, err := client.Get(s.Context(), url)
		took := time.Since(begin)
		s.Must(err)
		switch {
		case answer.Status == to && (to != 200 || answer.Echo.Service == "web"):
			return took
		case answer.Status != from:
			s.T.Fatalf("GET %s: status %d of %q between %d and %d: %.300s", url, answer.Status, answer.Echo.Service, from, to, answer.Body)
		case took > kit.Patience:
			s.T.Fatalf("GET %s: still %d after %s, want %d", url, answer.Status, took, to)
		}
		time.Sleep(time.Millisecond)
	}
}

func middle(all []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(all))[(len(all)-1)/2]
}

func spread(all []time.Duration) string {
	sorted := slices.Sorted(slices.Values(all))
	last := len(sorted) - 1
	return strings.Join([]string{
		milliseconds(sorted[0]), milliseconds(middle(sorted)), milliseconds(sorted[last*99/100]), milliseconds(sorted[last]),
	}, "\t")
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }

// memory is that of each of Portcullis' pods.
func memory(s *kit.S) string {
	s.T.Helper()
	var resident, peak, working []string
	for _, pod := range s.Pods("portcullis", "app.kubernetes.io/name=portcullis") {
		m := s.MemoryOf(pod)
		resident = append(resident, fmt.Sprintf("%.1f", float64(m.Resident)/1e6))
		peak = append(peak, fmt.Sprintf("%.1f", float64(m.Peak)/1e6))
		working = append(working, fmt.Sprintf("%.1f", float64(m.WorkingSet)/1e6))
	}
	return strings.Join([]string{strings.Join(resident, " "), strings.Join(peak, " "), strings.Join(working, " ")}, "\t")
}

// loadAverage is the machine's, of the last minute: without it nobody can tell what the times are worth.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
