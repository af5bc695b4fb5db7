package docker

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/activity"
	"github.com/tenure-dev/tenure/drivers/execparent"
)

// Driver makes containers. It is safe for concurrent use.
type Driver struct {
	opts Options

	active activity.Runtimes[*execparent.Linked]

	mu      sync.Mutex
	clients map[string]*connection // by host
	turns   map[string]*turn       // by runtime id
}

// Key is the provider's.
const Key = "docker"

// New returns a driver. It asks no engine for anything.
func New(opts Options) (*Driver, error) {
	opts = opts.Defaults()
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("driver docker: %w", err)
	}
	if info, err := os.Stat(opts.Inner); err != nil {
		return nil, fmt.Errorf("driver docker: option Inner: %w", err)
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("driver docker: option Inner: %s is not a regular file", opts.Inner)
	}
	return &Driver{opts: opts, clients: make(map[string]*connection), turns: make(map[string]*turn)}, nil
}

// Describing is a driver for the engine at host ("" is [DefaultHost]) that only says what it is, for a manifest.
func Describing(host string) *Driver { return &Driver{opts: Options{Host: host}.Defaults()} }

// Close gives up idle connections. Commands that run keep theirs.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for host, c := range d.clients {
		_ = c.Close() // it only closes idle connections
		delete(d.clients, host)
	}
	return nil
}

// Describe implements [drivers.Driver].
func (d *Driver) Describe() drivers.Description {
	return drivers.Description{
		Name: Key, Provider: Key, Class: drivers.ClassIdempotent, Isolation: "container", NodeBound: isLocal(d.opts.Host),
		Capabilities: drivers.Capabilities{Exec: true, List: true, CheckConfig: true, Probe: true, Keep: true},
	}
}

// turn is held by the Acquire or Release of a runtime that is under way; wanted counts it and those that wait for it.
type turn struct {
	held   chan struct{}
	wanted int
}

// acquireTurn lets one Acquire or Release of a runtime at a time go on in this process. A nil error must be followed by
// a call of done.
func (d *Driver) acquireTurn(ctx context.Context, runtimeID string) (done func(), err error) {
	d.mu.Lock()
	t, ok := d.turns[runtimeID]
	if !ok {
		t = &turn{held: make(chan struct{}, 1)}
		d.turns[runtimeID] = t
	}
	t.wanted++
	d.mu.Unlock()
	leave := func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if t.wanted--; t.wanted == 0 {
			delete(d.turns, runtimeID)
		}
	}
	select {
	case t.held <- struct{}{}:
		return func() { <-t.held; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}

var (
	_ drivers.Driver        = (*Driver)(nil)
	_ drivers.Executor      = (*Driver)(nil)
	_ drivers.Lister        = (*Driver)(nil)
	_ drivers.Prober        = (*Driver)(nil)
	_ drivers.ConfigChecker = (*Driver)(nil)
	_ drivers.SecretHolder  = (*Driver)(nil)
)
