package commands

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/eventstore"
)

// Worker is who drives: one incarnation of a process on a node.
type Worker struct {
	ID   domain.WorkerID
	Node domain.NodeID
}

// ClaimProvisioning claims the next attempt of a lease and announces its runtime, before anything is made. The state it
// returns is the lease with the attempt open. The node is written on the runtime if the driver is bound to one.
func (c *Commands) ClaimProvisioning(
	ctx context.Context, by Caller, id domain.LeaseID, node domain.NodeID, claim lease.StartProvisioning, need Need,
) (claimed lease.State, got Got, err error) {
	wait := false
	_, err = eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		w.Drives()
		claim := claim // of this try only
		claim.Now, claim.Node, wait = w.Now(), node, false
		l, err := eventstore.View(ctx, w, Leases, id.UUID)
		if err != nil {
			return err
		}
		if claim.Fingerprint, err = fingerprint(ctx, w, l, claim.Plugin, need); err != nil {
			return err
		}
		if !l.From.IsZero() && l.Attempt == 0 {
			w.Company(l.Company)
			if wait, err = inherit(ctx, w, l, &claim); wait || err != nil {
				return err
			}
		}
		if _, err := actOnLease(ctx, w, id, claim); err != nil {
			return err
		}
		if claimed, err = eventstore.View(ctx, w, Leases, id.UUID); err != nil {
			return err
		}
		if claimed.Resuming {
			if err := takeOver(ctx, w, id, claimed); err != nil {
				return err
			}
			got, err = settle(ctx, w, claimed.Company, need)
			return err
		}
		intend := eventstore.Act[runtime.State, runtime.Command, runtime.Event]
		if claimed.Runtime == claim.Runtime { // not that of an earlier attempt
			intend = eventstore.Begin
		}
		_, err = intend(ctx, w, Runtimes, claimed.Runtime.UUID, runtime.Intend{Intended: runtime.Intended{
			Company: claimed.Company, Environment: claimed.Environment, Lease: id, Driver: claimed.Driver, Provider: claimed.Provider, Node: node,
		}})
		if err != nil {
			return err
		}
		got, err = settle(ctx, w, claimed.Company, need)
		return err
	})
	if err == nil && wait {
		err = errFormerFirst
	}
	return claimed, got, err
}

// FinishProvisioning records the good end of an attempt: the runtime is made and the lease holds it, unless a release was
// asked for meanwhile.
func (c *Commands) FinishProvisioning(ctx context.Context, by Caller, id domain.LeaseID, result lease.Provision) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		result.Now = w.Now()
		events, err := actOnLease(ctx, w, id, result)
		if err != nil {
			return err
		}
		for _, e := range events {
			if p, ok := e.(lease.Provisioned); ok {
				_, err := eventstore.Act(ctx, w, Runtimes, p.Runtime.UUID,
					runtime.Command(runtime.Hold{Lease: id, ProviderLeaseID: result.ProviderLeaseID}))
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// FailProvisioning records the bad end of an attempt.
func (c *Commands) FailProvisioning(ctx context.Context, by Caller, id domain.LeaseID, failure lease.FailProvisioning) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		failure.Now = w.Now()
		before, err := eventstore.View(ctx, w, Leases, id.UUID)
		if err != nil {
			return err
		}
		if _, err = actOnLease(ctx, w, id, failure); err != nil || failure.Gone == "" || !before.Resuming {
			return err
		}
		return giveUpGone(ctx, w, id, before, failure.Gone)
	})
}

// ClaimRelease claims the next teardown of a lease and announces the destruction of its runtime, unless it is to be kept,
// before anything is destroyed. The state it returns is the lease with the teardown open.
func (c *Commands) ClaimRelease(
	ctx context.Context, by Caller, id domain.LeaseID, claim lease.StartRelease, need Need,
) (claimed lease.State, got Got, err error) {
	_, err = eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		w.Drives()
		claim.Now = w.Now()
		if _, err := actOnLease(ctx, w, id, claim); err != nil {
			return err
		}
		if claimed, err = eventstore.View(ctx, w, Leases, id.UUID); err != nil {
			return err
		}
		if claimed.Keeping() {
			got, err = settle(ctx, w, claimed.Company, need)
			return err
		}
		reason := cmp.Or(string(claimed.RetentionEnd), string(claimed.ReleaseReason), string(lease.ReasonFailed))
		if _, err := eventstore.Act(ctx, w, Runtimes, claimed.Runtime.UUID, runtime.Command(runtime.Destroy{Lease: id, Reason: reason})); err != nil {
			return err
		}
		got, err = settle(ctx, w, claimed.Company, need)
		return err
	})
	return claimed, got, err
}

// FinishRelease records the good end of a teardown: nothing is left, the slot is free, and who waited for it is granted; or
// the runtime is kept, for the next one of its scope.
func (c *Commands) FinishRelease(ctx context.Context, by Caller, id domain.LeaseID, result lease.FinishRelease) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		result.Now = w.Now()
		events, err := actOnLease(ctx, w, id, result)
		if err != nil {
			return err
		}
		after, err := eventstore.View(ctx, w, Leases, id.UUID)
		if err != nil {
			return err
		}
		proof := leak.ProofDestroyed
		// Not by what the lease is after all that: who waits for its slot may have ended the keeping at once, and the runtime is there.
		if slices.ContainsFunc(events, isRetaining) {
			proof = leak.ProofAdopted
		} else if err := endRuntime(ctx, w, after.Runtime, id, string(lease.GoneAbsent), runtime.ProofReleased); err != nil {
			return err
		}
		if after.Listed {
			return clearLeak(ctx, w, leak.OfRuntime(after.Runtime), proof)
		}
		return nil
	})
}

// FailRelease records the bad end of a teardown; it is tried again at retryAt. With the last of those that may fail, its
// runtime goes on the list of leaks.
func (c *Commands) FailRelease(ctx context.Context, by Caller, id domain.LeaseID, failure lease.FailRelease) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		events, err := actOnLease(ctx, w, id, failure)
		if err != nil || !slices.ContainsFunc(events, isQuarantine) {
			return err
		}
		return listLease(ctx, w, id, leak.WhyQuarantined)
	})
}

// Lease returns a lease as it is in the log now.
func (c *Commands) Lease(ctx context.Context, id domain.LeaseID) (lease.State, error) {
	l, err := eventstore.Load(ctx, c.ledger, Leases, id.UUID)
	return l.State, err
}

// KnownLease returns a lease as far as this process knows; see [eventstore.Recall].
func (c *Commands) KnownLease(ctx context.Context, id domain.LeaseID) (lease.State, error) {
	l, err := eventstore.Recall(ctx, c.ledger, Leases, id.UUID)
	return l.State, err
}

// Origin returns what was said of a runtime when it was announced, which never changes.
func (c *Commands) Origin(ctx context.Context, id domain.RuntimeID) (runtime.Intended, error) {
	r, err := eventstore.Recall(ctx, c.ledger, Runtimes, id.UUID)
	return r.State.Origin, err
}

// Backoff is how long to wait after n failures: doubling from base, at most limit.
func Backoff(n int, base, limit time.Duration) time.Duration {
	wait := base
	for range min(n-1, 62) {
		if wait > limit/2 {
			return limit
		}
		wait *= 2
	}
	return min(wait, limit)
}
