package supervisortest

import (
	"context"
	"encoding/json"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/memory"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/activeleases"
	"github.com/tenure-dev/tenure/projections/environments"
	"github.com/tenure-dev/tenure/projections/leaks"
	"github.com/tenure-dev/tenure/projections/runtimes"
)

// Estate is a [supervisor.Estate] of the read models of a log, which it folds anew at each question.
type Estate struct {
	Store *memory.Store
	// Provider is who makes the runtimes of an environment; nil for the driver's name.
	Provider func(driver string, config json.RawMessage) string
}

var _ supervisor.Estate = Estate{}

// Places implements [supervisor.Estate].
func (e Estate) Places(ctx context.Context) (places []supervisor.Place, err error) {
	rows, err := fold(ctx, e.Store, environments.Model)
	for _, row := range rows {
		env := row.(*environments.Row).Data
		if env.Status != environment.StatusArchived && env.Status != environment.StatusDeleted {
			p := supervisor.Place{Config: env.Config, Company: env.Company, Environment: env.ID}
			p.Target.Driver, p.Target.Provider = env.Driver, env.Driver
			if e.Provider != nil {
				p.Target.Provider = e.Provider(env.Driver, env.Config)
			}
			places = append(places, p)
		}
	}
	return places, err
}

// Stuck implements [supervisor.Estate].
func (e Estate) Stuck(ctx context.Context) (stuck []domain.LeaseID, err error) {
	rows, err := fold(ctx, e.Store, activeleases.Model)
	for _, row := range rows {
		l := row.(*activeleases.Row).Data
		if status := l.Status(); status == lease.StatusPendingCleanup || status == lease.StatusFailed {
			stuck = append(stuck, l.ID)
		}
	}
	return stuck, err
}

// Leaks implements [supervisor.Estate].
func (e Estate) Leaks(ctx context.Context) (open []supervisor.Leak, err error) {
	rows, err := fold(ctx, e.Store, leaks.Model)
	for _, row := range rows {
		if l := row.(*leaks.Row).Data; l.Status == leak.StatusOpen {
			open = append(open, supervisor.Leak{ID: l.ID, State: l.State})
		}
	}
	return open, err
}

// Forgotten implements [supervisor.Estate].
func (e Estate) Forgotten(ctx context.Context, node domain.NodeID) (given []domain.LeaseID, err error) {
	rows, err := fold(ctx, e.Store, runtimes.Model)
	for _, row := range rows {
		if r := row.(*runtimes.Row).Data; r.Proof == runtime.ProofForgotten && r.Origin.Node == node {
			given = append(given, r.Last)
		}
	}
	return given, err
}

// fold is a read model of a log as it is now.
func fold(ctx context.Context, store *memory.Store, model projections.Model) (map[eventstore.Stream]projections.Stored, error) {
	rows := map[eventstore.Stream]projections.Stored{}
	for position := int64(0); ; {
		page, err := store.ReadAll(ctx, position, 0)
		if err != nil || len(page) == 0 {
			return rows, err
		}
		for _, r := range page {
			position = r.Position
			if err := foldInto(rows, model, r); err != nil {
				return nil, err
			}
		}
	}
}

// foldInto folds one event into the rows of a read model.
func foldInto(rows map[eventstore.Stream]projections.Stored, model projections.Model, r eventstore.Recorded) error {
	if !model.Follows(r.Stream) {
		return nil
	}
	row, err := model.Fold(rows[r.Stream], projections.NewEvent(r.Fact()))
	if rows[r.Stream] = row; row == nil {
		delete(rows, r.Stream)
	}
	return err
}
