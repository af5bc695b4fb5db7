package commands

import (
	"context"
	"slices"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
)

// enter asks for the slot. Requests of one agent share what is granted unless they say otherwise.
func (a Acquire) enter(scope string) admission.Enter {
	standing := a.Queue.Standing
	if standing.Key == "" {
		standing.Key = a.Context.Agent
	}
	return admission.Enter{Lease: a.Lease, Standing: standing, Scope: scope, NoWait: a.NoWait}
}

// BusyError is the refusal of a request that has no room in an environment.
type BusyError struct {
	Environment domain.EnvironmentID
	Refusal     *domain.Refusal
}

func (e *BusyError) Error() string { return e.Refusal.Error() }

// Unwrap gives the refusal to errors.AsType.
func (e *BusyError) Unwrap() error { return e.Refusal }

// satisfiable refuses a request that no waiting can meet, with all that stands against it.
func (a Acquire) satisfiable(ctx context.Context, env environment.State) error {
	f := facts(env, a.Provider(env.Driver, env.Config), a.unavailable(ctx, env))
	if a.Policy.MayKeep() {
		f.Policy = string(a.Policy)
		if a.Keeping != nil {
			f.Keeping = a.Keeping(ctx, env.Driver, env.Config)
		}
	}
	return admission.Unsatisfiable(admission.Lasting(f))
}

func (a Acquire) unavailable(ctx context.Context, env environment.State) *domain.Refusal {
	if a.Unavailable == nil {
		return nil
	}
	return a.Unavailable(ctx, env.Driver, env.Config)
}

func facts(env environment.State, provider string, unavailable *domain.Refusal) admission.Facts {
	return admission.Facts{
		Environment: env.Status.String(), EnvironmentActive: env.Status == environment.StatusActive,
		Driver: env.Driver, Provider: provider, Unavailable: unavailable,
	}
}

// Lasting are the constraints of a request for a slot of the environment that no waiting mends.
func Lasting(env environment.State, provider string, unavailable *domain.Refusal) []domain.Constraint {
	return admission.Lasting(facts(env, provider, unavailable))
}

// TimeOutLease ends a lease that has waited for a slot as long as it was to; it does nothing before that. Its place in the
// queue goes in the same append.
func (c *Commands) TimeOutLease(ctx context.Context, by Caller, id domain.LeaseID) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		_, err := actOnLease(ctx, w, id, lease.TimeOut{Now: w.Now()})
		return err
	})
}

// QueueView is an environment's slots and queue as they are in the log now.
type QueueView struct {
	Position            int64
	Capacity, MaxQueued int
	// Held is how many slots are taken, Holders by whom, the lowest slot first.
	Held    int
	Holders []Holder
	// Queued is how many wait; Places are the first of them in the order of grants, and Waits how long each may take.
	Queued int
	Places []admission.Place
	Waits  []admission.Wait
	// Bound is how often anybody may be overtaken.
	Bound int
	// Passing are the constraints that waiting may mend.
	Passing []domain.Constraint
	// Room and Free are how long it may take until somebody may wait again, and until a slot is there for one more.
	Room, Free admission.Wait
}

// Holder is a lease that has a slot.
type Holder struct {
	Lease domain.LeaseID
	Slot  int
}

// ViewQueue shows the slots and the queue of an environment: at most limit of who waits, ending with upTo if it waits, which
// limit does not leave out.
func (c *Commands) ViewQueue(ctx context.Context, env domain.EnvironmentID, limit int, upTo domain.LeaseID) (v QueueView, err error) {
	now := c.ledger.Now()
	err = eventstore.Observe(ctx, c.ledger, Admissions, env.UUID, func(l eventstore.Loaded[admission.State]) {
		s := l.State
		if s.Waits(upTo) {
			limit = 0
		}
		v = QueueView{
			Position: l.Position, Capacity: s.Capacity, MaxQueued: s.MaxQueued, Held: len(s.Holders), Queued: s.Queued(),
			Places: s.Order(limit, upTo), Bound: admission.MostOvertaken(s.MaxQueued), Passing: admission.Passing(s, upTo),
			Room: s.WaitFor(1, now), Free: s.WaitFor(s.Queued()+1, now),
		}
		for place := range v.Places {
			v.Waits = append(v.Waits, s.WaitFor(place+1, now))
		}
		for id, slot := range s.Holders {
			v.Holders = append(v.Holders, Holder{Lease: id, Slot: slot})
		}
	})
	slices.SortFunc(v.Holders, func(a, b Holder) int { return a.Slot - b.Slot })
	return v, err
}
