package dockertest

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Rule decides about one request: it answers by itself and returns true, or lets it pass.
type Rule func(w http.ResponseWriter, r *http.Request) bool

// Proxy stands before the engine and returns its address. Requests that rule does not answer are passed on.
func (e *Engine) Proxy(t *testing.T, rule Rule) (host string) {
	t.Helper()
	host, _ = e.proxy(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if !rule(w, r) {
			pass.ServeHTTP(w, r)
		}
	})
	return host
}

// proxy also returns the gate that its connections go through.
func (e *Engine) proxy(t *testing.T, serve func(w http.ResponseWriter, r *http.Request, pass http.Handler)) (host string, g *gate) {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "tenure-proxy-") //nolint:usetesting // a socket's path must be short
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(dir, "sock"))
	require.NoError(t, err)
	g = &gate{Listener: listener, open: map[net.Conn]struct{}{}}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "engine"}) },
		Transport: &http.Transport{
			DialContext: e.Dial, DisableKeepAlives: true,
		},
		FlushInterval: -1,
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serve(w, r, forward)
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(g)
	}()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		<-ended
	})
	return "unix://" + filepath.Join(dir, "sock"), g
}

// gate is a listener that knows its connections, those that commands are attached to included.
type gate struct {
	net.Listener
	mu   sync.Mutex
	open map[net.Conn]struct{}
}

// Accept implements [net.Listener].
func (g *gate) Accept() (net.Conn, error) {
	c, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	passed := &passed{Conn: c, gate: g}
	g.open[passed] = struct{}{}
	return passed, nil
}

type passed struct {
	net.Conn
	gate *gate
}

// Close implements [net.Conn].
func (p *passed) Close() error {
	p.gate.mu.Lock()
	delete(p.gate.open, p)
	p.gate.mu.Unlock()
	return p.Conn.Close()
}

// cut closes every connection and returns how many there were.
func (g *gate) cut() int {
	g.mu.Lock()
	var open []net.Conn
	for c := range g.open {
		open = append(open, c)
	}
	g.mu.Unlock()
	for _, c := range open {
		_ = c.Close() // its own end may have closed it
	}
	return len(open)
}

// Faulty stands before an engine and loses what it is told to. Only what changes something is lost; questions are answered.
type Faulty struct {
	// Host is its address.
	Host string

	gate *gate
	mu   sync.Mutex
	// requests and replies are how many of each to lose from now on, lost how many were.
	requests, replies, lost int
}

// Faulty stands before the engine.
func (e *Engine) Faulty(t *testing.T) *Faulty {
	t.Helper()
	f := &Faulty{}
	f.Host, f.gate = e.proxy(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		request, reply := f.loses(r)
		if reply {
			pass.ServeHTTP(httptest.NewRecorder(), r)
		}
		if request || reply {
			panic(http.ErrAbortHandler) // which closes the connection
		}
		pass.ServeHTTP(w, r)
	})
	return f
}

func (f *Faulty) loses(r *http.Request) (request, reply bool) {
	// What is attached to a command has no reply; Cut is for that.
	if r.Method == http.MethodGet || r.Method == http.MethodHead || r.Header.Get("Upgrade") != "" {
		return false, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.requests > 0:
		f.requests--
		request = true
	case f.replies > 0:
		f.replies--
		reply = true
	default:
		return false, false
	}
	f.lost++
	return request, reply
}

// LoseRequests keeps the next n requests from the engine. Their connections are closed.
func (f *Faulty) LoseRequests(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = n
}

// LoseReplies lets the engine do the next n requests and closes their connections without a word.
func (f *Faulty) LoseReplies(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replies = n
}

// Heal loses nothing more. It returns how much was lost since the last time.
func (f *Faulty) Heal() (lost int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	lost = f.lost
	f.requests, f.replies, f.lost = 0, 0, 0
	return lost
}

// Cut closes every connection and returns how many there were.
func (f *Faulty) Cut() int { return f.gate.cut() }
