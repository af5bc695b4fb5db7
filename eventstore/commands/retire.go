package commands

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/company"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
)

// Retirement is how an environment ends.
type Retirement struct {
	// Delete ends it for good; else it is archived.
	Delete bool
	// Force takes down first what stands in the way, which goes on after the command.
	Force bool
}

// mostBlockers bounds how many leases a refusal lists.
const mostBlockers = 20

// RetireEnvironment archives or deletes an environment. What stands in the way is listed in the refusal, or dealt with first:
// leases that it has, or that something may be left of, are taken down, and it is no longer its company's default. Doing so again changes nothing.
func (c *Commands) RetireEnvironment(ctx context.Context, by Caller, id domain.EnvironmentID, how Retirement) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		env, err := viewEnvironment(ctx, w, id)
		if err != nil {
			return err
		}
		w.Company(env.Company)
		admitted, err := eventstore.View(ctx, w, Admissions, id.UUID)
		if err != nil {
			return err
		}
		owner, err := eventstore.View(ctx, w, Companies, env.Company.UUID)
		if err != nil {
			return err
		}
		isDefault := owner.DefaultEnvironment == id
		var cmd environment.Command = environment.Archive{}
		switch left := leasesIn(admitted); {
		case len(left) > 0 && (how.Force || onItsWay(env.Status, how.Delete)):
			cmd = environment.Retire{Delete: how.Delete}
		case (len(left) > 0 || isDefault) && !how.Force && !over(env.Status, how.Delete):
			return inUse(ctx, w, env.Company, isDefault, left)
		case how.Delete:
			cmd = environment.Delete{}
		}
		if isDefault && how.Force {
			if _, err := eventstore.Act(ctx, w, Companies, env.Company.UUID, company.Command(company.SetDefaultEnvironment{})); err != nil {
				return err
			}
		}
		if _, err = eventstore.Act(ctx, w, Environments, id.UUID, cmd); err != nil {
			return err
		}
		_, err = eventstore.Act(ctx, w, Admissions, id.UUID, admission.Command(admission.Close{}))
		return err
	})
}

// over reports whether an environment has ended already as it is to end; then nothing stands in the way any more.
func over(s environment.Status, remove bool) bool {
	return s == environment.StatusDeleted || s == environment.StatusArchived && !remove
}

// onItsWay reports whether an environment is being ended as it is asked to; that may be asked again.
func onItsWay(s environment.Status, remove bool) bool {
	return s == environment.StatusDeleting && remove || s == environment.StatusArchiving && !remove
}

// leasesIn are the leases that hold a slot or wait for one, in the order of their ids, which is that of their age.
func leasesIn(a admission.State) []domain.LeaseID {
	all := append(slices.Collect(maps.Keys(a.Holders)), a.Queue()...)
	slices.SortFunc(all, func(x, y domain.LeaseID) int { return slices.Compare(x.UUID[:], y.UUID[:]) })
	return all
}

// inUse lists what stands in the way: leases, and the company whose runs get this environment when nobody names one.
func inUse(ctx context.Context, w *eventstore.Work, owner domain.CompanyID, isDefault bool, left []domain.LeaseID) error {
	what := fmt.Sprintf("%d leases stand in the way", len(left))
	if len(left) == 1 {
		what = "a lease stands in the way"
	}
	if isDefault && len(left) == 0 {
		what = "it is the default of its company"
	} else if isDefault {
		what += ", and it is the default of its company"
	}
	refusal := domain.Refuse(domain.KindConflict, "environment_in_use", "%s", what).
		Mend("release the leases and set another default first, or add force=true, which does that before it ends the environment")
	if isDefault {
		refusal.Blockers = append(refusal.Blockers, domain.Blocker{Kind: "default", ID: owner.String(), Status: "default"})
	}
	for _, id := range left[:min(len(left), mostBlockers)] {
		l, err := eventstore.View(ctx, w, Leases, id.UUID)
		if err != nil {
			return err
		}
		refusal.Blockers = append(refusal.Blockers, domain.Blocker{Kind: "lease", ID: id.String(), Status: blocking(l)})
	}
	return refusal
}

// blocking is where a lease stands that is in the way.
func blocking(l lease.State) string {
	if l.Kept {
		return string(lease.StatusRetained)
	}
	if l.Status().Ended() || l.Status() == lease.StatusPendingCleanup {
		return string(lease.StatusPendingCleanup)
	}
	return l.Status().String()
}

// FinishRetirement ends an environment that retires, if all that it had is gone or on record as waiting for its cleanup.
func (c *Commands) FinishRetirement(ctx context.Context, by Caller, id domain.EnvironmentID) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		env, err := viewEnvironment(ctx, w, id)
		if err != nil || !env.Status.Retiring() {
			return err
		}
		w.Company(env.Company)
		var cmd environment.Command = environment.Archive{}
		if env.Status == environment.StatusDeleting {
			cmd = environment.Delete{}
		}
		_, err = eventstore.Act(ctx, w, Environments, id.UUID, cmd)
		return err
	})
}

// Retiring is an environment that is about to end, and the leases that it has.
type Retiring struct {
	environment.State
	Leases []domain.LeaseID
}

// KnownRetiring returns an environment with its leases.
func (c *Commands) KnownRetiring(ctx context.Context, id domain.EnvironmentID) (Retiring, error) {
	env, err := eventstore.Recall(ctx, c.ledger, Environments, id.UUID)
	if err != nil || !env.State.Status.Retiring() {
		return Retiring{State: env.State}, err
	}
	admitted, err := eventstore.Load(ctx, c.ledger, Admissions, id.UUID)
	return Retiring{State: env.State, Leases: leasesIn(admitted.State)}, err
}
