package docker

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/moby/moby/client"
)

// engine is one Docker engine as one environment uses it.
type engine struct {
	*connection
	opts Options
	cfg  config
	log  *slog.Logger
}

// connection is the client of one engine.
type connection struct {
	*client.Client
	// negotiated says that the client and the engine agree on a version of the API.
	negotiated atomic.Bool
}

// connect agrees with the engine on a version of the API, once. The client would do so by itself, but goes on as if nothing
// were if there is none.
func (e *engine) connect(ctx context.Context) error {
	if e.negotiated.Load() {
		return nil
	}
	if _, err := e.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return failed(ctx, "connect", err)
	}
	e.negotiated.Store(true)
	return nil
}

// engineOf returns the engine of a configuration. Nothing is asked yet.
func (d *Driver) engineOf(cfg config) (*engine, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.clients[cfg.Host]
	if !ok {
		opts := []client.Opt{client.WithHost(cfg.Host), client.WithUserAgent("tenure")}
		if !isLocal(cfg.Host) && d.opts.CertDir != "" {
			dir := d.opts.CertDir
			opts = append(opts, client.WithTLSClientConfig(
				filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")))
		}
		made, err := client.New(opts...)
		if err != nil {
			return nil, fmt.Errorf("client of %s: %w", cfg.Host, err)
		}
		c = &connection{Client: made}
		d.clients[cfg.Host] = c
	}
	return &engine{connection: c, opts: d.opts, cfg: cfg, log: d.opts.Logger.With("engine", cfg.Host)}, nil
}

// limitError is the cause of a context whose limit is ours: it names the step and the limit.
type limitError struct {
	limit time.Duration
	what  string
}

func (e *limitError) Error() string {
	return fmt.Sprintf("%s did not end within %s", e.what, e.limit.Round(time.Millisecond))
}

// Timeout says that this is one.
func (e *limitError) Timeout() bool { return true }

// within limits one step. Where the caller's own deadline comes first, ours is put a little before it, so that the
// caller hears what the matter was instead of nothing.
func within(ctx context.Context, limit time.Duration, what string) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		limit = min(limit, left-min(left/10, time.Second))
	}
	limit = max(limit, 0)
	return context.WithTimeoutCause(ctx, limit, &limitError{limit: limit, what: what})
}

// cleanupLimit bounds what is done after a failure, whether or not somebody still waits.
const cleanupLimit = 20 * time.Second

func forCleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.WithoutCancel(ctx), cleanupLimit, &limitError{limit: cleanupLimit, what: "the removal"})
}
