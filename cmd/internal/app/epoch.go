package app

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenure-dev/tenure/api"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/projections/leases"
)

// driving says why nothing is driven for now.
func (a *App) driving() error {
	if a.store.Identity().Forked {
		return eventstore.ErrForked
	}
	return nil
}

// identity names the log as it is now.
func (a *App) identity() (installation uuid.UUID, epoch int64) {
	now := a.store.Identity()
	return now.Installation, now.Epoch
}

// measureEpoch shows the log's epoch and whether it waits for its adoption.
func (a *App) measureEpoch() {
	a.metrics.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tenure_log_forked", Help: "1 while the log has forked and waits for its adoption: nothing is driven.",
		}, func() float64 {
			if a.store.Identity().Forked {
				return 1
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tenure_log_epoch", Help: "The log's epoch; it is raised when the log forks.",
		}, func() float64 { return float64(a.store.Epoch()) }),
	)
}

// logKeeper is the log as the API shows and adopts it.
type logKeeper struct{ app *App }

var _ api.LogKeeper = logKeeper{}

// Now is what this process knows.
func (k logKeeper) Now() api.LogNow {
	now := k.app.store.Identity()
	return api.LogNow{Installation: now.Installation, Epoch: now.Epoch, Forked: now.Forked}
}

// Describe looks again and tells all.
func (k logKeeper) Describe(ctx context.Context) (api.LogDescription, error) {
	store := k.app.store
	if err := store.Look(ctx); err != nil {
		return api.LogDescription{}, err
	}
	state, place, err := store.State(ctx)
	if err != nil {
		return api.LogDescription{}, err
	}
	head, err := store.Head(ctx)
	if err != nil {
		return api.LogDescription{}, err
	}
	replication, err := store.Replication(ctx)
	if err != nil {
		return api.LogDescription{}, err
	}
	return api.LogDescription{
		LogNow: k.Now(), Position: head.Position, State: state, Place: place,
		Standbys: replication.Standbys, SynchronousStandbys: replication.Synchronous,
	}, nil
}

// Adopt takes the log as it is. What a copy inherited belongs to the original, and is let go of first.
func (k logKeeper) Adopt(ctx context.Context, by commands.Caller, a api.LogAdoption) error {
	store := k.app.store
	if err := store.Look(ctx); err != nil {
		return err
	}
	now := store.Identity()
	switch {
	case a.Epoch != 0 && a.Epoch != now.Epoch:
		return changedMeanwhile(now)
	case !now.Forked && !a.Anyway:
		return notForked()
	case a.NewInstallation && !now.Forked:
		return domain.Refuse(domain.KindConflict, "log_not_forked", "the log has not forked, so its leases may be driven while it lets go of them").
			On("newInstallation").Mend("adopt it with anyway and without newInstallation, stop every process, and ask for help")
	}
	if a.NewInstallation {
		if err := k.letGo(ctx, by); err != nil {
			return err
		}
	}
	_, err := store.Adopt(ctx, pg.Adoption{
		Reason: a.Reason, By: by.By, Epoch: now.Epoch, NewInstallation: a.NewInstallation, Anyway: a.Anyway,
	})
	switch {
	case errors.Is(err, pg.ErrNotForked):
		return notForked()
	case errors.Is(err, pg.ErrChangedMeanwhile):
		return changedMeanwhile(store.Identity())
	}
	return err
}

func notForked() error {
	return domain.Refuse(domain.KindConflict, "log_not_forked", "the log has not forked since it was adopted last").
		Mend("nothing is to be done; if you know of a restore that no server noticed, say anyway")
}

func changedMeanwhile(now pg.Identity) error {
	return domain.Refuse(domain.KindConflict, "log_forked_again", "the log is at epoch %d now", now.Epoch).On("epoch").
		Mend("see GET /api/v1/log for what was found, and adopt that")
}

// letGo ends every lease of the log that was there when it forked, without touching what it has. It may be interrupted and
// begun again: nothing is driven before the log is adopted.
func (k logKeeper) letGo(ctx context.Context, by commands.Caller) error {
	a := k.app
	state, _, err := a.store.State(ctx)
	if err != nil {
		return err
	}
	head, err := a.store.Head(ctx)
	if err != nil {
		return err
	}
	if err := a.runner.Wait(ctx, head.Position, leases.Model.Name); err != nil {
		return err
	}
	for l, err := range each(ctx, a.pool, leases.List, leases.Filter{}) {
		if err != nil {
			return err
		}
		if _, err := a.commands.DisownLease(ctx, by, l.Data.ID, state.ForkedAt); err != nil {
			return err
		}
	}
	return nil
}
