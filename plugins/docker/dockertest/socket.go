package dockertest

import (
	"context"
	"net"
	"net/http"
	"strings"
)

// socket dials one path whatever the address.
type socket struct{ path string }

func (s *socket) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", s.path)
}

// HTTP is a client whose every request goes to the engine.
func (e *Engine) HTTP() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: (&socket{path: strings.TrimPrefix(e.Host, "unix://")}).dial, DisableKeepAlives: true,
	}}
}
