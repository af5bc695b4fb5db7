package commands

import (
	"context"
	"encoding/json"
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/eventstore"
)

// Acquire asks for a lease.
type Acquire struct {
	Lease       domain.LeaseID
	Company     domain.CompanyID
	Environment domain.EnvironmentID
	// Selection finds the environment of a request that names none; Environment is zero then.
	Selection *Selection
	// Provider is who will make the runtime, as the environment's driver says.
	Provider         func(driver string, config json.RawMessage) string
	Run              string
	Context          lease.Context
	Policy           lease.Policy
	TTL, IdleTimeout time.Duration
	// RetainFor is how long the runtime is kept where the policy keeps it; 0 for an ephemeral lease.
	RetainFor time.Duration
	// Queue is how it waits for a slot; NoWait asks to be granted at once or refused.
	Queue  lease.Queueing
	NoWait bool
	// Unavailable says why nobody can make runtimes with a driver and configuration; nil if somebody can. Optional.
	Unavailable func(ctx context.Context, driver string, config json.RawMessage) *domain.Refusal
	// Keeping says whether a driver can keep runtimes with a configuration. Optional: then it is not known.
	Keeping func(ctx context.Context, driver string, config json.RawMessage) admission.Keeping
	// Env are variables for every command in the lease.
	Env map[string]string
}

// AcquireLease requests a lease and, where a slot is free, grants it in the same append.
func (c *Commands) AcquireLease(ctx context.Context, by Caller, a Acquire) (eventstore.Outcome, error) {
	values, err := newValues(a.Env, nil)
	if err != nil {
		return eventstore.Outcome{}, err
	}
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		a, chosen := a, (*lease.Selection)(nil) // of this try only
		if a.Selection != nil {
			choice, err := a.choose(ctx, w)
			if err != nil {
				return err
			}
			a.Environment, chosen = choice.Environment, &lease.Selection{Level: choice.Level, Reason: choice.Reason}
		}
		env, err := viewEnvironment(ctx, w, a.Environment)
		if err == nil {
			err = owned(env.Company, a.Company, "environment")
		}
		if err != nil {
			return on(err, "environmentId")
		}
		if err := a.satisfiable(ctx, env); err != nil {
			return err
		}
		w.Company(a.Company)
		scope, err := requestLease(ctx, w, a, env, chosen, values.names)
		if err == nil {
			err = c.crowded(ctx, a, scope)
		}
		if err != nil {
			return err
		}
		kept := eventstore.Input{ID: a.Lease.UUID, Company: a.Company, Subject: Leases.Stream(a.Lease.UUID)}
		if err := c.keepValues(w, values, kept); err != nil {
			return err
		}
		return c.busyAt(a.Environment, actOnAdmission(ctx, w, a.Environment, a.enter(scope)))
	})
}

func requestLease(
	ctx context.Context, w *eventstore.Work, a Acquire, env environment.State, chosen *lease.Selection, names []domain.EnvName,
) (scope string, err error) {
	requested := lease.Requested{
		Company: a.Company, Environment: a.Environment, EnvironmentVersion: w.Version(Environments.Stream(a.Environment.UUID)),
		Driver: env.Driver, Provider: a.Provider(env.Driver, env.Config), Config: env.Config,
		Run: a.Run, Context: a.Context, Policy: a.Policy,
		TTLMs: a.TTL.Milliseconds(), IdleTimeoutMs: a.IdleTimeout.Milliseconds(), Env: names, Selection: chosen, Queue: a.Queue,
		RetainForMs: a.RetainFor.Milliseconds(), MaxTTLMs: env.MaxTTL().Milliseconds(),
	}
	_, err = eventstore.Begin(ctx, w, Leases, a.Lease.UUID, lease.Command(lease.Request{Requested: requested}))
	return requested.Scope(), err
}

// actOnLease decides a command on a lease. What the lease no longer needs after it (its slot, its variables, a
// runtime that was never made) goes in the same append.
func actOnLease(ctx context.Context, w *eventstore.Work, id domain.LeaseID, cmd lease.Command) ([]lease.Event, error) {
	before, err := eventstore.View(ctx, w, Leases, id.UUID)
	if err != nil {
		return nil, err
	}
	w.Company(before.Company)
	events, err := eventstore.Act(ctx, w, Leases, id.UUID, cmd)
	if err != nil {
		return nil, err
	}
	after, err := eventstore.View(ctx, w, Leases, id.UUID)
	if err != nil {
		return nil, err
	}
	ended := !before.Status().Ended() && after.Status().Ended()
	if ended && len(after.Env) > 0 {
		w.Drop(id.UUID)
	}
	if err := settleKept(ctx, w, id, before, after); err != nil {
		return nil, err
	}
	if ended && !before.TearingDown && !after.Runtime.IsZero() && !after.CleanupNeeded { // what a teardown shows, its end says
		neverMade := runtime.ConfirmDestroyed{Proof: runtime.ProofNeverMade}
		if _, err := eventstore.Act(ctx, w, Runtimes, after.Runtime.UUID, runtime.Command(neverMade)); err != nil {
			return nil, err
		}
	}
	if inAdmission(before) && !inAdmission(after) {
		err = giveUpSlot(ctx, w, id, after)
	}
	return events, err
}

// inAdmission reports whether the lease waits for a slot or holds one.
func inAdmission(s lease.State) bool { return s.HoldsSlot() || s.Status() == lease.StatusRequested }

// ReleaseLease asks to take a lease down; a lease that nothing was made for is canceled. Releasing again changes nothing.
func (c *Commands) ReleaseLease(ctx context.Context, by Caller, id domain.LeaseID, cmd lease.Release) (eventstore.Outcome, error) {
	return c.onLease(ctx, by, id, cmd)
}

// CancelLease gives up a lease that is not active yet.
func (c *Commands) CancelLease(ctx context.Context, by Caller, id domain.LeaseID, reason string) (eventstore.Outcome, error) {
	return c.onLease(ctx, by, id, lease.Cancel{Reason: reason})
}

// EndRetention lets a kept runtime go; one that expires does so only when its time is over.
func (c *Commands) EndRetention(ctx context.Context, by Caller, id domain.LeaseID, reason lease.RetentionReason) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		_, err := actOnLease(ctx, w, id, lease.EndRetention{Reason: reason, Now: w.Now()})
		return err
	})
}

func (c *Commands) onLease(ctx context.Context, by Caller, id domain.LeaseID, cmd lease.Command) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		_, err := actOnLease(ctx, w, id, cmd)
		return err
	})
}

// on names the field of a refusal that a caller's field led to.
func on(err error, field string) error {
	if r, ok := err.(*domain.Refusal); ok && r.Field == "" { //nolint:errorlint // refusals are not wrapped below this point
		return r.On(field)
	}
	return err
}
