package dockertest

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Rule decides about one request: it answers by itself and returns true, or lets it pass.
type Rule func(w http.ResponseWriter, r *http.Request) bool

// Proxy stands before the engine and returns its address. Requests that rule does not answer are passed on.
func (e *Engine) Proxy(t *testing.T, rule Rule) (host string) {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "tenure-proxy-") //nolint:usetesting // a socket's path must be short
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(dir, "sock"))
	require.NoError(t, err)
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "engine"}) },
		Transport: &http.Transport{
			DialContext: e.Dial, DisableKeepAlives: true,
		},
		FlushInterval: -1,
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !rule(w, r) {
			forward.ServeHTTP(w, r)
		}
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		<-ended
	})
	return "unix://" + filepath.Join(dir, "sock")
}
