package engine

import (
	"context"
	"net"
	"net/http"
	"strings"
)

// Dial connects to the engine, whatever the address.
func (e *Engine) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(e.Host, "unix://"))
}

// HTTP is a client whose every request goes to the engine.
func (e *Engine) HTTP() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: e.Dial, DisableKeepAlives: true}}
}
