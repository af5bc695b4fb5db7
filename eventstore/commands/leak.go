package commands

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/eventstore"
)

// Sighting is one thing that a provider lists under this installation's name.
type Sighting struct {
	Installation     uuid.UUID
	Driver, Provider string
	// RuntimeID is the label as it stands there, which need not be an id of ours.
	RuntimeID       string
	ProviderLeaseID *string
	// Node is where it is, if it is bound to one; Place is where it was listed, see [leak.PlaceOf].
	Node  domain.NodeID
	Place string
	// Twice says that the provider may have more than one thing under a runtime's id.
	Twice bool
	// ListedAt is when the provider was asked, FirstSeen when the thing was first listed.
	ListedAt, FirstSeen time.Time
}

// Runtime is the runtime that the label names; zero for a label that is none of ours.
func (s Sighting) Runtime() domain.RuntimeID {
	id, err := uuid.Parse(s.RuntimeID)
	if err != nil {
		return domain.RuntimeID{}
	}
	return domain.RuntimeID{UUID: id}
}

// Judged is a sighting beside what the log says.
type Judged struct {
	// Leak is what the thing is as a leak, whether it is one or not.
	Leak domain.LeakID
	// Why is "" for what somebody looks after.
	Why leak.Why
	// Runtime and Lease are what the log knows of it; Holder is that lease.
	Runtime runtime.State
	Lease   lease.State
	Holder  domain.LeaseID
}

// Judge compares a sighting with the log as it is after this call began. What this process knows is trusted where it says
// that somebody looks after the thing: if that is not so any more, a later look finds it.
func (c *Commands) Judge(ctx context.Context, s Sighting) (Judged, error) {
	r, err := eventstore.Recall(ctx, c.ledger, Runtimes, s.Runtime().UUID)
	if err != nil {
		return Judged{}, err
	}
	if r.State.Status == runtime.StatusHeld {
		if j := judge(s, r.State, lease.State{}); j.Why == "" {
			return j, nil
		}
	}
	if r, err = eventstore.Load(ctx, c.ledger, Runtimes, s.Runtime().UUID); err != nil {
		return Judged{}, err
	}
	var l lease.State
	if id := r.State.Last; !id.IsZero() {
		if l, err = c.Lease(ctx, id); err != nil {
			return Judged{}, err
		}
	}
	j := judge(s, r.State, l)
	over, err := c.overSince(ctx, j, s.Runtime())
	if err == nil && !over.Before(s.ListedAt) {
		j.Why = "" // it was there when the provider was asked, and rightly so
	}
	return j, err
}

// overSince is when a thing ceased to be looked after; zero for what never was.
func (c *Commands) overSince(ctx context.Context, j Judged, id domain.RuntimeID) (time.Time, error) {
	switch j.Why {
	case leak.WhyLate:
		events, err := c.ledger.Store().ReadStream(ctx, Runtimes.Stream(id.UUID), 0, 0)
		if err != nil || len(events) == 0 {
			return time.Time{}, err
		}
		return events[len(events)-1].RecordedAt, nil // nothing happens to a runtime after its end
	case leak.WhyEnded:
		return j.Lease.EndedAt, nil
	case leak.WhyUnknown, leak.WhyExtra, leak.WhyQuarantined, leak.WhyForced, leak.WhyMismatch:
	}
	return time.Time{}, nil
}

// judge says whether somebody looks after a thing that exists.
func judge(s Sighting, r runtime.State, l lease.State) Judged {
	j := Judged{Leak: leak.OfRuntime(s.Runtime()), Runtime: r, Lease: l, Holder: r.Last}
	switch r.Status {
	case runtime.StatusNone:
		j.Why = leak.WhyUnknown
		if s.Runtime().IsZero() {
			j.Leak = leak.OfName(s.Installation, s.Provider, s.Name())
		}
	case runtime.StatusDestroyed:
		j.Why = leak.WhyLate
	case runtime.StatusHeld:
		if s.Twice && r.ProviderLeaseID != nil && s.ProviderLeaseID != nil && *r.ProviderLeaseID != *s.ProviderLeaseID {
			j.Why, j.Leak = leak.WhyExtra, leak.OfName(s.Installation, s.Provider, s.Name())
		}
	case runtime.StatusIntended, runtime.StatusFree, runtime.StatusDestroying:
		if l.Over() {
			j.Why = leak.WhyEnded
		}
	case runtime.StatusLost, runtime.StatusDisowned:
		// The one is on the list already; the other is the original's, of which this log is a copy.
	}
	return j
}

// Name is what the thing goes by at its provider.
func (s Sighting) Name() string {
	if s.ProviderLeaseID != nil {
		return *s.ProviderLeaseID
	}
	return s.RuntimeID
}

// judgeAgain is judge as a part of an append, which is held to what it saw: a lease that gets the thing meanwhile wins.
func judgeAgain(ctx context.Context, w *eventstore.Work, s Sighting) (Judged, error) {
	var r runtime.State
	var l lease.State
	var err error
	if id := s.Runtime(); !id.IsZero() {
		if r, err = eventstore.View(ctx, w, Runtimes, id.UUID); err != nil {
			return Judged{}, err
		}
	}
	if id := r.Last; !id.IsZero() {
		if l, err = eventstore.View(ctx, w, Leases, id.UUID); err != nil {
			return Judged{}, err
		}
	}
	w.Company(r.Origin.Company)
	j := judge(s, r, l)
	if j.Why == "" {
		return j, domain.Refuse(domain.KindStale, "runtime_in_use", "the runtime is looked after")
	}
	return j, nil
}

// ListLeak puts a thing that nobody looks after on the list of leaks.
func (c *Commands) ListLeak(ctx context.Context, by Caller, s Sighting) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		j, err := judgeAgain(ctx, w, s)
		if err != nil {
			return err
		}
		o := j.Runtime.Origin
		_, err = eventstore.Act(ctx, w, Leaks, j.Leak.UUID, leak.Command(leak.Find{Found: leak.Found{
			Company: o.Company, Environment: o.Environment, Lease: o.Lease, Runtime: s.Runtime(), Driver: s.Driver, Provider: s.Provider,
			ProviderLeaseID: s.ProviderLeaseID, Node: s.Node, Why: j.Why, Place: s.Place, FirstSeen: s.FirstSeen,
		}}))
		return err
	})
}

// ClaimLeak announces that a thing is about to be destroyed. It is refused if somebody looks after it by now.
func (c *Commands) ClaimLeak(ctx context.Context, by Caller, s Sighting, worker domain.WorkerID) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		w.Drives()
		j, err := judgeAgain(ctx, w, s)
		if err != nil {
			return err
		}
		_, err = eventstore.Act(ctx, w, Leaks, j.Leak.UUID, leak.Command(leak.IntendDestroy{Worker: worker}))
		return err
	})
}

// FailLeak says that a leak could not be destroyed.
func (c *Commands) FailLeak(ctx context.Context, by Caller, id domain.LeakID, failure leak.FailDestroy) (eventstore.Outcome, error) {
	return c.onLeak(ctx, by, id, failure)
}

func (c *Commands) onLeak(ctx context.Context, by Caller, id domain.LeakID, cmd leak.Command) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		s, err := eventstore.View(ctx, w, Leaks, id.UUID)
		if err != nil {
			return err
		}
		w.Company(s.Found.Company)
		_, err = eventstore.Act(ctx, w, Leaks, id.UUID, cmd)
		return err
	})
}

// SettleLeak takes a leak off the list by a proof that the thing is gone. What waited for that proof is told: its runtime's
// stream, and a lease that was ended by force.
func (c *Commands) SettleLeak(ctx context.Context, by Caller, id domain.LeakID, proof leak.Proof) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		s, err := eventstore.View(ctx, w, Leaks, id.UUID)
		if err != nil {
			return err
		}
		return settleLeak(ctx, w, id, s, proof)
	})
}

func settleLeak(ctx context.Context, w *eventstore.Work, id domain.LeakID, s leak.State, proof leak.Proof) error {
	if s.Status != leak.StatusOpen {
		return nil
	}
	w.Company(s.Found.Company)
	if s.Found.Why != leak.WhyExtra && !s.Found.Runtime.IsZero() {
		if err := settleRuntime(ctx, w, s.Found.Runtime, runtimeProof(proof)); err != nil {
			return err
		}
	}
	return clearLeak(ctx, w, id, proof)
}

// SettleRuntime says that a runtime is gone. It is refused while a lease holds it or a worker is at it; a lease whose
// teardown failed ends by it, and a leak is cleared.
func (c *Commands) SettleRuntime(ctx context.Context, by Caller, id domain.RuntimeID, proof leak.Proof) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		r, err := eventstore.View(ctx, w, Runtimes, id.UUID)
		if err != nil || r.Status == runtime.StatusNone {
			return err
		}
		w.Company(r.Origin.Company)
		if err := settleRuntime(ctx, w, id, runtimeProof(proof)); err != nil {
			return err
		}
		return clearLeak(ctx, w, leak.OfRuntime(id), proof)
	})
}

// SettleForced says that the runtime of a lease was destroyed; it does nothing unless the lease was ended by force before
// that.
func (c *Commands) SettleForced(ctx context.Context, by Caller, id domain.LeaseID) (eventstore.Outcome, error) {
	l, err := c.Lease(ctx, id)
	if err != nil || !l.Forced || l.Cleaned {
		return eventstore.Outcome{}, err
	}
	return c.SettleRuntime(ctx, by, l.Runtime, leak.ProofDestroyed)
}

func runtimeProof(proof leak.Proof) runtime.Proof {
	switch proof {
	case leak.ProofAbsent:
		return runtime.ProofAbsent
	case leak.ProofPerson:
		return runtime.ProofPerson
	case leak.ProofForgotten:
		return runtime.ProofForgotten
	case leak.ProofDestroyed, leak.ProofAdopted:
	}
	return runtime.ProofReleased
}

// settleRuntime ends what waits for the proof that a runtime is gone.
func settleRuntime(ctx context.Context, w *eventstore.Work, id domain.RuntimeID, proof runtime.Proof) error {
	r, err := eventstore.View(ctx, w, Runtimes, id.UUID)
	if err != nil || r.Status == runtime.StatusNone || r.Status == runtime.StatusDestroyed {
		return err
	}
	l, err := eventstore.View(ctx, w, Leases, r.Last.UUID)
	if err != nil {
		return err
	}
	if (r.Status == runtime.StatusHeld || l.Kept) && !l.NeedsTeardown() {
		return domain.Refuse(domain.KindStale, "runtime_in_use", "a lease holds the runtime")
	}
	if l.Runtime == id {
		if _, err := actOnLease(ctx, w, r.Last, lease.ConfirmCleanup{}); err != nil {
			return err
		}
	}
	return endRuntime(ctx, w, id, r.Last, string(proof), proof)
}

// ClearLeak takes a leak off the list by a person's word. One whose lease still tries to take it down is refused.
func (c *Commands) ClearLeak(ctx context.Context, by Caller, id domain.LeakID, reason string) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		s, err := eventstore.View(ctx, w, Leaks, id.UUID)
		if err != nil {
			return err
		}
		w.Company(s.Found.Company)
		cleared, err := eventstore.Act(ctx, w, Leaks, id.UUID, leak.Command(leak.Clear{Proof: leak.ProofPerson, Reason: reason}))
		if err != nil || len(cleared) == 0 || s.Found.Lease.IsZero() {
			return err
		}
		l, err := eventstore.View(ctx, w, Leases, s.Found.Lease.UUID)
		if err != nil {
			return err
		}
		if l.NeedsTeardown() && l.Runtime == s.Found.Runtime {
			return domain.Refuse(domain.KindConflict, "lease_not_over", "the lease %s still holds its slot and is to be taken down", s.Found.Lease).
				Mend("try it again: tenure lease cleanup retry %s; or end it first: tenure lease cleanup force %s", s.Found.Lease, s.Found.Lease)
		}
		return clearedByPerson(ctx, w, s.Found)
	})
}

// clearedByPerson lets a runtime that only a person could say anything of count as gone. Its lease stays without a proof.
func clearedByPerson(ctx context.Context, w *eventstore.Work, f leak.Found) error {
	if f.Runtime.IsZero() || f.Why == leak.WhyExtra {
		return nil
	}
	r, err := eventstore.View(ctx, w, Runtimes, f.Runtime.UUID)
	if err != nil {
		return err
	}
	switch r.Status {
	case runtime.StatusIntended, runtime.StatusFree, runtime.StatusLost, runtime.StatusDestroying:
		return endRuntime(ctx, w, f.Runtime, r.Last, string(runtime.ProofPerson), runtime.ProofPerson)
	case runtime.StatusNone, runtime.StatusHeld, runtime.StatusDestroyed, runtime.StatusDisowned:
	}
	return nil
}
