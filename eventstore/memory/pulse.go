package memory

import (
	"context"
	"sync"
	"time"

	"github.com/tenure-dev/tenure/eventstore"
)

// Pulse is [eventstore.Pulse] by a store's clock. It stays where it is when its processes end.
type Pulse struct {
	store *Store

	mu  sync.Mutex
	row eventstore.PulseReading
}

var _ eventstore.Pulse = (*Pulse)(nil)

// NewPulse makes the row of a store.
func NewPulse(s *Store) *Pulse { return &Pulse{store: s} }

// Beat implements [eventstore.Pulse].
func (p *Pulse) Beat(_ context.Context, limit time.Duration) (eventstore.PulseReading, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.row.Now = p.store.clock.Now()
	if p.row.At.IsZero() || p.row.Now.Sub(p.row.At) <= limit {
		if p.row.Now.After(p.row.At) || p.row.At.Sub(p.row.Now) > limit {
			p.row.At = p.row.Now
		}
	}
	return p.row, nil
}

// Resume implements [eventstore.Pulse].
func (p *Pulse) Resume(_ context.Context, version int64) (eventstore.PulseReading, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.row.Now, p.row.Version = p.store.clock.Now(), max(p.row.Version, version)
	p.row.At = p.row.Now
	return p.row, nil
}

// Look implements [eventstore.Pulse].
func (p *Pulse) Look(context.Context) (eventstore.PulseReading, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.row.Now = p.store.clock.Now()
	return p.row, nil
}
