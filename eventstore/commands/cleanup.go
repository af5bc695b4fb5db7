package commands

import (
	"context"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/eventstore"
)

func isQuarantine(e lease.Event) bool { _, ok := e.(lease.Quarantined); return ok }

func isRetaining(e lease.Event) bool { _, ok := e.(lease.Retained); return ok }

// RetryCleanup asks for the teardown of a lease at once, also out of quarantine.
func (c *Commands) RetryCleanup(ctx context.Context, by Caller, id domain.LeaseID) (eventstore.Outcome, error) {
	return c.onLease(ctx, by, id, lease.RetryCleanup{})
}

// ForceCleanup ends a lease whose runtime cannot be made or taken down. Its slot is free; its runtime is on the list of
// leaks until there is a proof that it is gone, or a person clears it.
func (c *Commands) ForceCleanup(ctx context.Context, by Caller, id domain.LeaseID, reason string) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		events, err := actOnLease(ctx, w, id, lease.ForceCleanup{Reason: reason})
		if err != nil || len(events) == 0 {
			return err
		}
		after, err := eventstore.View(ctx, w, Leases, id.UUID)
		if err != nil {
			return err
		}
		if _, err := eventstore.Act(ctx, w, Runtimes, after.Runtime.UUID, runtime.Command(runtime.Destroy{Lease: id, Reason: "forced"})); err != nil {
			return err
		}
		return listLease(ctx, w, id, leak.WhyForced)
	})
}

// listLease puts the runtime of a lease on the list of leaks.
func listLease(ctx context.Context, w *eventstore.Work, id domain.LeaseID, why leak.Why) error {
	l, err := eventstore.View(ctx, w, Leases, id.UUID)
	if err != nil {
		return err
	}
	return listRuntime(ctx, w, id, l, why)
}

// listRuntime puts a runtime that a lease has, or had in the state l, on the list of leaks.
func listRuntime(ctx context.Context, w *eventstore.Work, id domain.LeaseID, l lease.State, why leak.Why) error {
	r, err := eventstore.View(ctx, w, Runtimes, l.Runtime.UUID)
	if err != nil {
		return err
	}
	_, err = eventstore.Act(ctx, w, Leaks, leak.OfRuntime(l.Runtime).UUID, leak.Command(leak.Find{Found: leak.Found{
		Company: l.Company, Environment: l.Environment, Lease: id, Runtime: l.Runtime, Driver: l.Driver, Provider: l.Provider,
		ProviderLeaseID: l.ProviderLeaseID, Node: r.Origin.Node, Why: why, FirstSeen: w.Now(),
		Place: leak.PlaceOf(l.Driver, l.Provider, l.Config),
	}}))
	return err
}

func clearLeak(ctx context.Context, w *eventstore.Work, id domain.LeakID, proof leak.Proof) error {
	_, err := eventstore.Act(ctx, w, Leaks, id.UUID, leak.Command(leak.Clear{Proof: proof}))
	return err
}
