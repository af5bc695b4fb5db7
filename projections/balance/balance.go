// Package balance counts every runtime there ever was as one of these, so that none is forgotten:
//
//	created = held + in work + listed + destroyed
//
// Held is held by a lease. In work has a lease that makes it, keeps it for the next one or will take it down. What a copy of the
// log left to its original counts as destroyed. Listed is on the list of leaks. A runtime
// that is none of these is an error of the engine's, and is named.
package balance

import (
	"context"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/leaks"
	"github.com/tenure-dev/tenure/projections/leases"
	"github.com/tenure-dev/tenure/projections/runtimes"
)

// Balance is the account of all runtimes.
type Balance struct {
	Created, Held, InWork, Listed, Destroyed int64
	// Lost are runtimes that are none of these; more than [MaxLost] are counted and not named.
	Lost      []Lost
	LostCount int64
	// Unknown counts open leaks of what the log has no runtime for, which no number above holds.
	Unknown int64
}

// Lost is a runtime that may exist and that nobody looks after.
type Lost struct {
	Runtime domain.RuntimeID
	Status  runtime.Status
	Lease   domain.LeaseID
}

// MaxLost is how many are named.
const MaxLost = 100

// Holds reports whether every runtime is accounted for.
func (b Balance) Holds() bool { return b.LostCount == 0 }

// Of takes the account. The read models may be at different places of the log; so a runtime that seems to be lost counts as
// such only if the log itself says so.
func Of(ctx context.Context, db projections.DB, log eventstore.Reader) (Balance, error) {
	created, existing, err := runtimes.Inventory(ctx, db)
	if err != nil {
		return Balance{}, err
	}
	looked, err := lookedAfter(ctx, db)
	if err != nil {
		return Balance{}, err
	}
	listed, unknown, err := listed(ctx, db)
	if err != nil {
		return Balance{}, err
	}
	b := Balance{Created: created, Destroyed: created - int64(len(existing)), Unknown: unknown}
	for _, r := range existing {
		place := sort(r.Status, looked[r.Lease], listed[r.ID])
		if place != nowhere {
			b.count(place)
		} else if err := b.look(ctx, log, r); err != nil {
			return Balance{}, err
		}
	}
	return b, nil
}

// place is where a runtime is accounted for.
type place int

const (
	nowhere place = iota
	held
	inWork
	onList
	destroyed
)

func (b *Balance) count(p place) {
	switch p {
	case held:
		b.Held++
	case inWork:
		b.InWork++
	case onList:
		b.Listed++
	case destroyed:
		b.Destroyed++
	case nowhere:
		b.LostCount++
	}
}

func sort(status runtime.Status, lookedAfter, listed bool) place {
	lookedAfter = lookedAfter && status != runtime.StatusLost // the lease looks after another one, in its place
	switch {
	case status == runtime.StatusDestroyed, status == runtime.StatusDisowned:
		return destroyed
	case lookedAfter && status == runtime.StatusHeld:
		return held
	case lookedAfter:
		return inWork
	case listed:
		return onList
	}
	return nowhere
}

// look sorts a runtime by the log.
func (b *Balance) look(ctx context.Context, log eventstore.Reader, r runtimes.Existing) error {
	now, ok, err := runtimes.Model.Read(ctx, log, eventstore.StreamOf(runtime.Category, r.ID.UUID))
	if err != nil || !ok {
		return err
	}
	of, _, err := leases.Model.Read(ctx, log, eventstore.StreamOf(lease.Category, now.Data.Last.UUID))
	if err != nil {
		return err
	}
	l, _, err := leaks.Model.Read(ctx, log, eventstore.StreamOf(leak.Category, leak.OfRuntime(r.ID).UUID))
	if err != nil {
		return err
	}
	s := of.Data.State
	place := sort(now.Data.Status, s.Runtime == r.ID && !s.Over(), l.Data.Status == leak.StatusOpen)
	if b.count(place); place == nowhere && len(b.Lost) < MaxLost {
		b.Lost = append(b.Lost, Lost{Runtime: r.ID, Status: now.Data.Status, Lease: now.Data.Last})
	}
	return nil
}
