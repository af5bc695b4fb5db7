package sim

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/outage"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/memory"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/activeleases"
	"github.com/tenure-dev/tenure/projections/deadlines"
	"github.com/tenure-dev/tenure/projections/environments"
	"github.com/tenure-dev/tenure/projections/leaks"
)

// models are the read models that engines work by. They stand where the log stood a while ago: each reading brings them
// forward, unless they are held up.
type models struct {
	store    *memory.Store
	position int64
	heldUp   time.Time
	tables   []*table
	outages  outage.State
}

type table struct {
	model projections.Model
	rows  map[eventstore.Stream]projections.Stored
}

// The tables of models, in their order.
const (
	tableDeadlines = iota
	tableEnvironments
	tableActive
	tableLeaks
)

func newModels(store *memory.Store) *models {
	m := &models{store: store}
	for _, model := range []projections.Model{deadlines.Model, environments.Model, activeleases.Model, leaks.Model} {
		m.tables = append(m.tables, &table{model: model, rows: map[eventstore.Stream]projections.Stored{}})
	}
	return m
}

// catchUp folds what is new.
func (m *models) catchUp() error {
	if m.heldUp.After(time.Now()) {
		return nil
	}
	page, err := m.store.ReadAll(context.Background(), m.position, math.MaxInt32)
	if err != nil {
		return err
	}
	for _, r := range page {
		m.position = r.Position
		if r.Stream.Category() == outage.Category {
			if m.outages, err = commands.Outages.Fold(m.outages, []eventstore.Recorded{r}); err != nil {
				return err
			}
		}
		for _, t := range m.tables {
			if err := t.fold(r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *table) fold(r eventstore.Recorded) error {
	if !t.model.Follows(r.Stream) {
		return nil
	}
	row, err := t.model.Fold(t.rows[r.Stream], projections.NewEvent(r.Fact()))
	if err != nil {
		return err
	}
	if t.rows[r.Stream] = row; row == nil {
		delete(t.rows, r.Stream)
	}
	return nil
}

// sorted are the rows of a table in the order of their streams.
func (m *models) sorted(n int) ([]projections.Stored, error) {
	if err := m.catchUp(); err != nil {
		return nil, err
	}
	rows := m.tables[n].rows
	streams := make([]eventstore.Stream, 0, len(rows))
	for s := range rows {
		streams = append(streams, s)
	}
	slices.Sort(streams)
	out := make([]projections.Stored, len(streams))
	for i, s := range streams {
		out[i] = rows[s]
	}
	return out, nil
}

func (m *models) tasks(limit int, match func(deadlines.Deadline) bool) ([]supervisor.Task, error) {
	all, err := m.sorted(tableDeadlines)
	if err != nil {
		return nil, err
	}
	var rows []*deadlines.Row
	for _, stored := range all {
		if row := stored.(*deadlines.Row); match(row.Data) {
			rows = append(rows, row)
		}
	}
	slices.SortStableFunc(rows, func(a, b *deadlines.Row) int { return a.Data.DueAt.Compare(b.Data.DueAt) })
	var tasks []supervisor.Task
	for _, row := range rows[:min(limit, len(rows))] {
		tasks = append(tasks, supervisor.Task{Stream: row.Stream, Version: row.Version, Worker: row.Data.Worker})
	}
	return tasks, nil
}

func in(scope supervisor.Scope, x deadlines.Deadline) bool {
	return slices.Contains(scope.Partitions, x.Partition) || !x.Node.IsZero() && x.Node == scope.Node
}

func (m *models) due(scope supervisor.Scope, now time.Time, limit int) ([]supervisor.Task, error) {
	return m.tasks(limit, func(x deadlines.Deadline) bool {
		return x.Kind != deadlines.KindExpire && !x.DueAt.IsZero() && !x.DueAt.After(now) && in(scope, x)
	})
}

func (m *models) expiring(scope supervisor.Scope, now time.Time, limit int) ([]supervisor.Task, error) {
	return m.tasks(limit, func(x deadlines.Deadline) bool {
		if x.Kind != deadlines.KindExpire || !slices.Contains(scope.Partitions, x.Partition) {
			return false
		}
		early := x.LeaseState.ExpiresAt.Sub(x.DueAt)
		return !x.LeaseState.EndsAt(m.outages.Gaps).Add(-early).After(now)
	})
}

func (m *models) workers() ([]domain.WorkerID, error) {
	all, err := m.sorted(tableDeadlines)
	var workers []domain.WorkerID
	for _, stored := range all {
		if w := stored.(*deadlines.Row).Data.Worker; !w.IsZero() && !slices.Contains(workers, w) {
			workers = append(workers, w)
		}
	}
	slices.SortFunc(workers, func(a, b domain.WorkerID) int { return cmp.Compare(a.String(), b.String()) })
	return workers, err
}

func (m *models) claimed(scope supervisor.Scope, worker domain.WorkerID) ([]supervisor.Task, error) {
	return m.tasks(math.MaxInt, func(x deadlines.Deadline) bool { return x.Worker == worker && in(scope, x) })
}

func (m *models) resident(node domain.NodeID) ([]supervisor.Task, error) {
	return m.tasks(math.MaxInt, func(x deadlines.Deadline) bool { return x.Node == node })
}

func (m *models) places() ([]supervisor.Place, error) {
	rows, err := m.sorted(tableEnvironments)
	var places []supervisor.Place
	for _, row := range rows {
		env := row.(*environments.Row).Data
		if env.Status == environment.StatusArchived || env.Status == environment.StatusDeleted {
			continue
		}
		p := supervisor.Place{Config: env.Config, Company: env.Company, Environment: env.ID}
		p.Target.Driver, p.Target.Provider = env.Driver, env.Driver
		places = append(places, p)
	}
	return places, err
}

func (m *models) stuck() ([]domain.LeaseID, error) {
	rows, err := m.sorted(tableActive)
	var stuck []domain.LeaseID
	for _, row := range rows {
		l := row.(*activeleases.Row).Data
		if status := l.Status(); status == lease.StatusPendingCleanup || status == lease.StatusFailed {
			stuck = append(stuck, l.ID)
		}
	}
	return stuck, err
}

func (m *models) open() ([]supervisor.Leak, error) {
	rows, err := m.sorted(tableLeaks)
	var open []supervisor.Leak
	for _, row := range rows {
		if l := row.(*leaks.Row).Data; l.Status == leak.StatusOpen {
			open = append(open, supervisor.Leak{ID: l.ID, State: l.State})
		}
	}
	return open, err
}
