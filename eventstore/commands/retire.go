package commands

import (
	"context"
	"maps"
	"slices"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
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

// RetireEnvironment archives or deletes an environment. Leases that it has, and that something may be left of, stand in the
// way: they are listed in the refusal, or taken down first. Doing so again changes nothing.
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
		var cmd environment.Command = environment.Archive{}
		switch left := leasesIn(admitted); {
		case len(left) > 0 && how.Force:
			cmd = environment.Retire{Delete: how.Delete}
		case len(left) > 0 && !over(env.Status, how.Delete):
			return inUse(ctx, w, left)
		case how.Delete:
			cmd = environment.Delete{}
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

// leasesIn are the leases that hold a slot or wait for one, in the order of their ids, which is that of their age.
func leasesIn(a admission.State) []domain.LeaseID {
	all := append(slices.Collect(maps.Keys(a.Holders)), a.Queue...)
	slices.SortFunc(all, func(x, y domain.LeaseID) int { return slices.Compare(x.UUID[:], y.UUID[:]) })
	return all
}

func inUse(ctx context.Context, w *eventstore.Work, left []domain.LeaseID) error {
	refusal := domain.Refuse(domain.KindConflict, "environment_in_use", "%d leases stand in the way", len(left)).
		Mend("release them first, or add force=true, which does that before it ends the environment")
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
