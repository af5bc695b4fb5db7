package commands

import (
	"context"

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

// satisfiable refuses a request that no waiting can meet, with all that stands against it.
func (a Acquire) satisfiable(env environment.State) error {
	return admission.Unsatisfiable(admission.Lasting(facts(env, a.Provider(env.Driver, env.Config), a.unavailable(env))))
}

func (a Acquire) unavailable(env environment.State) *domain.Refusal {
	if a.Unavailable == nil {
		return nil
	}
	return a.Unavailable(env.Driver, env.Config)
}

func facts(env environment.State, provider string, unavailable *domain.Refusal) admission.Facts {
	return admission.Facts{
		Environment: env.Status.String(), EnvironmentActive: env.Status == environment.StatusActive,
		Driver: env.Driver, Provider: provider, Unavailable: unavailable,
	}
}

// Constraints are what a request for a slot of the environment needs, and whether it is so.
func Constraints(env environment.State, provider string, unavailable *domain.Refusal, a admission.State, id domain.LeaseID) []domain.Constraint {
	return append(admission.Lasting(facts(env, provider, unavailable)), admission.Passing(a, id)...)
}

// TimeOutLease ends a lease that has waited for a slot as long as it was to; it does nothing before that. Its place in the
// queue goes in the same append.
func (c *Commands) TimeOutLease(ctx context.Context, by Caller, id domain.LeaseID) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		_, err := actOnLease(ctx, w, id, lease.TimeOut{Now: w.Now()})
		return err
	})
}
