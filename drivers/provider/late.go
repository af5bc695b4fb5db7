package provider

import (
	"context"
	"sync"
	"time"

	"github.com/tenure-dev/tenure/drivers"
)

// Late keeps the runtimes whose names came too late: after the call that asked for them had failed. The next attempt for
// the same runtime id takes one over; the release of that id ends them. It lives as long as the process, and so do the
// workers whose replies it waits for.
type Late struct {
	mu sync.Mutex
	// waiting are runtimes that nobody has taken, by runtime id; held is what an attempt returned.
	waiting map[string][]Lease
	held    map[string]*string
	// open are the calls by runtime id that have failed and may still make a runtime.
	open map[string][]<-chan struct{}
}

// NewLate makes an empty one.
func NewLate() *Late {
	return &Late{waiting: map[string][]Lease{}, held: map[string]*string{}, open: map[string][]<-chan struct{}{}}
}

// arrives notes a late runtime. It is extra if an attempt has returned another one meanwhile: then it is nobody's.
func (l *Late) arrives(runtimeID string, class drivers.Class, lease Lease) (extra bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if class == drivers.ClassIdempotent {
		return false // it is the runtime of this id, whichever call named it first
	}
	if id, held := l.held[runtimeID]; held {
		return id == nil || lease.ProviderLeaseID == nil || *id != *lease.ProviderLeaseID
	}
	l.waiting[runtimeID] = append(l.waiting[runtimeID], lease)
	return false
}

// take hands out a late runtime.
func (l *Late) take(runtimeID string) (Lease, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting := l.waiting[runtimeID]
	if len(waiting) == 0 {
		return Lease{}, false
	}
	l.waiting[runtimeID] = waiting[1:]
	return waiting[0], true
}

// holds notes what an attempt returned.
func (l *Late) holds(runtimeID string, lease Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[runtimeID] = lease.ProviderLeaseID
}

// all are the late runtimes of an id.
func (l *Late) all(runtimeID string) []Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Lease(nil), l.waiting[runtimeID]...)
}

// forget drops what was noted of an id whose runtimes are gone.
func (l *Late) forget(runtimeID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, runtimeID)
	delete(l.held, runtimeID)
}

// opens notes a call that has failed and may still make a runtime until over is closed.
func (l *Late) opens(runtimeID string, over <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[runtimeID] = append(l.open[runtimeID], over)
}

// isOpen reports whether a call may still make a runtime of this id.
func (l *Late) isOpen(runtimeID string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	var open []<-chan struct{}
	for _, over := range l.open[runtimeID] {
		select {
		case <-over:
		default:
			open = append(open, over)
		}
	}
	if l.open[runtimeID] = open; len(open) == 0 {
		delete(l.open, runtimeID)
	}
	return len(open) > 0
}

// keep notes a runtime that the release of its id has to end.
func (l *Late) keep(runtimeID string, lease Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting[runtimeID] = append(l.waiting[runtimeID], lease)
}

// undoTimeout bounds the taking down of what nobody wants.
const undoTimeout = 30 * time.Second

// endExtra ends one runtime of several by the provider's own name for it: by the engine's the others would go as well.
func (d *Driver) endExtra(ctx context.Context, worker Worker, of LeaseRequest) error {
	of.Token.RuntimeID = ""
	return d.end(ctx, worker, of)
}

// Prune implements [drivers.Pruner].
func (d *Driver) Prune(ctx context.Context, req drivers.PruneRequest) error {
	if d.about.Class == drivers.ClassIdempotent {
		return nil
	}
	config, _, err := d.shape.open(req.Config)
	if err != nil {
		return drivers.BadConfig(err)
	}
	hidden := secretsOf(d.offer, config)
	worker, err := d.offer.Worker(ctx)
	if err != nil {
		return hidden.clean(err)
	}
	of := d.leaseOf(req.Handle, config)
	ends := d.late.all(req.RuntimeID)
	if req.ProviderLeaseID != nil {
		ends = append(ends, of.Lease)
	}
	if d.about.Class == drivers.ClassListable {
		found, err := d.find(ctx, worker, of.Scope, of.Token)
		if err != nil {
			return hidden.clean(err)
		}
		for _, r := range found {
			ends = append(ends, Lease{ProviderLeaseID: r.ProviderLeaseID})
		}
	}
	for _, of.Lease = range distinct(ends) {
		if of.Lease.ProviderLeaseID == nil || *of.Lease.ProviderLeaseID == req.Keep {
			continue
		}
		if err := d.endExtra(ctx, worker, of); err != nil {
			return hidden.clean(err)
		}
	}
	return nil
}

// destroyExtra ends a runtime that came too late for an id that has another one. What cannot be ended now is ended when the
// id is released.
func (d *Driver) destroyExtra(worker Worker, of LeaseRequest) {
	ctx, cancel := context.WithTimeout(context.Background(), undoTimeout)
	defer cancel()
	if err := d.endExtra(ctx, worker, of); err != nil {
		d.late.keep(of.Token.RuntimeID, of.Lease)
	}
}
