package kit

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"portcullis.dev/e2e/internal/cluster"
	"portcullis.dev/e2e/internal/portcullis"
)

// Client makes requests from outside the cluster to one address, whatever the host of the request is.
type Client struct {
	Address string
	// Roots are what servers are verified with.
	Roots *x509.CertPool
	// Fresh opens a connection for each request.
	Fresh bool
	// HTTP2 asks for it over TLS.
	HTTP2 bool
	// Ports are for requests whose URL has none; 80 and 443 when 0.
	HTTPPort, HTTPSPort int
	// Preface is sent at the beginning of each connection.
	Preface []byte
	// Source is the address to come from, one of the outside's; the system chooses when empty.
	Source string
	// Netns is the path of the network namespace to come from (PodNetns); the outside's when empty.
	Netns string
	// Patience is how long a request may take; 10 s when 0.
	Patience time.Duration

	http *http.Client
}

// Answer is a response with what the echo server says.
type Answer struct {
	Status int
	Header http.Header
	Body   string
	Echo   Echo
	TLS    *tls.ConnectionState
}

// Echo is what the echo server received.
type Echo struct {
	Path      string              `json:"path"`
	Host      string              `json:"host"`
	Method    string              `json:"method"`
	Proto     string              `json:"proto"`
	Headers   map[string][]string `json:"headers"`
	Namespace string              `json:"namespace"`
	Service   string              `json:"service"`
	Pod       string              `json:"pod"`
	// Remote is whom the request came from; Portcullis's own echo alone says it.
	Remote string `json:"remote_address"`
}

// Received are the values of a header; echo servers differ in how they write its name.
func (e Echo) Received(name string) []string {
	for have, values := range e.Headers {
		if strings.EqualFold(have, name) {
			return values
		}
	}
	return nil
}

// Get asks for a URL; redirects are answers.
func (c *Client) Get(ctx context.Context, target string, headers ...string) (*Answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	for name, value := range pairs(headers) {
		request.Header.Set(name, value)
	}
	return c.Do(request)
}

// Do sends a request and reads all of the answer.
func (c *Client) Do(request *http.Request) (*Answer, error) {
	response, err := c.client().Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	answer := &Answer{Status: response.StatusCode, Header: response.Header, Body: string(body), TLS: response.TLS}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
		err := json.Unmarshal(body, &answer.Echo)
		var others *json.UnmarshalTypeError // others speak JSON, too
		if err != nil && !errors.As(err, &others) {
			return nil, fmt.Errorf("body: %w: %q", err, body)
		}
	}
	return answer, nil
}

// Another is a client like this one with connections of its own, and with what is changed in it.
func (c *Client) Another(change func(*Client)) *Client {
	other := *c
	other.http = nil
	if change != nil {
		change(&other)
	}
	return &other
}

// Close lets go of idle connections.
func (c *Client) Close() { c.client().CloseIdleConnections() }

func (c *Client) client() *http.Client {
	if c.http == nil {
		patience := c.Patience
		if patience == 0 {
			patience = 10 * time.Second
		}
		c.http = &http.Client{
			Timeout:       patience,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				DialContext:       c.dial,
				TLSClientConfig:   &tls.Config{RootCAs: c.Roots},
				DisableKeepAlives: c.Fresh,
				ForceAttemptHTTP2: c.HTTP2,
			},
		}
	}
	return c.http
}

func (c *Client) dial(ctx context.Context, network, host string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(host)
	if err != nil {
		return nil, err
	}
	if port == "80" && c.HTTPPort != 0 {
		port = fmt.Sprint(c.HTTPPort)
	}
	if port == "443" && c.HTTPSPort != 0 {
		port = fmt.Sprint(c.HTTPSPort)
	}
	dial := (&net.Dialer{LocalAddr: c.source()}).DialContext
	if c.Netns != "" {
		dial = cluster.DialIn(c.Netns)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := dial(ctx, network, net.JoinHostPort(c.Address, port))
	if err != nil || len(c.Preface) == 0 {
		return conn, err
	}
	if _, err := conn.Write(c.Preface); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func (c *Client) source() net.Addr {
	if c.Source == "" {
		return nil
	}
	return &net.TCPAddr{IP: net.ParseIP(c.Source)}
}

// Want is what an answer should be; empty fields may be anything.
type Want struct {
	Status  int
	Service string
	// Path is what the backend saw.
	Path     string
	Location string
}

// Check compares.
func (w Want) Check(answer *Answer) error {
	status := w.Status
	if status == 0 {
		status = http.StatusOK
	}
	switch {
	case answer.Status != status:
		return fmt.Errorf("status %d, want %d: %.300s", answer.Status, status, answer.Body)
	case w.Service != "" && answer.Echo.Service != w.Service:
		return fmt.Errorf("answered by %q, want %q", answer.Echo.Service, w.Service)
	case w.Path != "" && answer.Echo.Path != w.Path:
		return fmt.Errorf("backend saw path %q, want %q", answer.Echo.Path, w.Path)
	case w.Location != "" && answer.Header.Get("Location") != w.Location:
		return fmt.Errorf("location %q, want %q", answer.Header.Get("Location"), w.Location)
	}
	return nil
}

// Expect asks until the answer is the wanted one.
func (s *S) Expect(c *Client, target string, want Want, headers ...string) *Answer {
	s.T.Helper()
	var answer *Answer
	s.Eventually("GET "+target, func() error {
		ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
		defer cancel()
		got, err := c.Get(ctx, target, headers...)
		if err != nil {
			return err
		}
		answer = got
		return want.Check(got)
	})
	return answer
}

// ExpectOfEach is Expect of each of Portcullis's pods by itself, whichever the address leads to.
func (s *S) ExpectOfEach(c *Client, target string, want Want) {
	s.T.Helper()
	for _, client := range s.ClientsOfPods(c) {
		s.Expect(client, target, want)
	}
}

// ClientsOfPods returns a client like this one for each of Portcullis's pods, which connects to the address of the pod.
func (s *S) ClientsOfPods(c *Client) []*Client {
	s.T.Helper()
	var clients []*Client
	for _, pod := range s.PortcullisPods() {
		clients = append(clients, c.Another(func(c *Client) {
			c.Address = pod.Status.PodIP
			c.HTTPPort, c.HTTPSPort = cmp.Or(c.HTTPPort, 80)+portcullis.PortOffset, cmp.Or(c.HTTPSPort, 443)+portcullis.PortOffset
		}))
	}
	if len(clients) == 0 {
		s.T.Fatal("Portcullis has no pods")
	}
	return clients
}

// Refuse asks until the connection is refused or breaks off: nothing answers there.
func (s *S) Refuse(c *Client, target string) {
	s.T.Helper()
	s.Eventually("no answer to GET "+target, func() error {
		ctx, cancel := context.WithTimeout(s.ctx, 2*time.Second)
		defer cancel()
		answer, err := c.Get(ctx, target)
		if err != nil {
			if _, transport := err.(*url.Error); transport {
				return nil
			}
			return err
		}
		return fmt.Errorf("status %d", answer.Status)
	})
}
