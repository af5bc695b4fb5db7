package supervisortest

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/outage"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/memory"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/deadlines"
	"github.com/tenure-dev/tenure/projections/nodes"
)

// Todo is the deadlines read model. It catches up with the log at each question.
type Todo struct {
	store *memory.Store

	mu       sync.Mutex
	position int64
	rows     map[eventstore.Stream]projections.Stored
	nodes    map[eventstore.Stream]projections.Stored
	outages  outage.State
}

// NewTodo makes the read model of a log.
func NewTodo(store *memory.Store) *Todo {
	return &Todo{store: store, rows: map[eventstore.Stream]projections.Stored{}, nodes: map[eventstore.Stream]projections.Stored{}}
}

// Due implements [supervisor.Todo].
func (d *Todo) Due(ctx context.Context, scope supervisor.Scope, now time.Time, limit int) ([]supervisor.Task, error) {
	return d.tasks(ctx, limit, func(x deadlines.Deadline) bool {
		return in(scope, x) && x.Kind != deadlines.KindExpire && !x.DueAt.IsZero() && !x.DueAt.After(now)
	})
}

func in(scope supervisor.Scope, x deadlines.Deadline) bool {
	return slices.Contains(scope.Partitions, x.Partition) || !x.Node.IsZero() && x.Node == scope.Node
}

// Expiring implements [supervisor.Todo].
func (d *Todo) Expiring(ctx context.Context, scope supervisor.Scope, now time.Time, limit int) ([]supervisor.Task, error) {
	return d.tasks(ctx, limit, func(x deadlines.Deadline) bool {
		if x.Kind != deadlines.KindExpire || !slices.Contains(scope.Partitions, x.Partition) {
			return false
		}
		early := x.LeaseState.ExpiresAt.Sub(x.DueAt)
		return !x.LeaseState.EndsAt(d.outages.Gaps).Add(-early).After(now)
	})
}

// Waiting implements [supervisor.Todo].
func (d *Todo) Waiting(ctx context.Context, scope supervisor.Scope, limit int) ([]supervisor.Task, error) {
	return d.tasks(ctx, limit, func(x deadlines.Deadline) bool {
		if x.Node == scope.Node || x.Node.IsZero() {
			return x.Kind == deadlines.KindNode
		}
		said, ok := d.nodes[commands.Nodes.Stream(x.Node.UUID)].(*nodes.Row)
		return ok && said.Data.Forgotten && slices.Contains(scope.Partitions, x.Partition)
	})
}

// Workers implements [supervisor.Todo].
func (d *Todo) Workers(ctx context.Context) ([]domain.WorkerID, error) {
	all, err := d.tasks(ctx, math.MaxInt, func(x deadlines.Deadline) bool { return !x.Worker.IsZero() })
	var workers []domain.WorkerID
	for _, task := range all {
		if !slices.Contains(workers, task.Worker) {
			workers = append(workers, task.Worker)
		}
	}
	return workers, err
}

// Claimed implements [supervisor.Todo].
func (d *Todo) Claimed(ctx context.Context, scope supervisor.Scope, worker domain.WorkerID) ([]supervisor.Task, error) {
	return d.tasks(ctx, math.MaxInt, func(x deadlines.Deadline) bool { return in(scope, x) && x.Worker == worker })
}

// Resident implements [supervisor.Todo].
func (d *Todo) Resident(ctx context.Context, node domain.NodeID) ([]supervisor.Task, error) {
	return d.tasks(ctx, math.MaxInt, func(x deadlines.Deadline) bool { return x.Node == node })
}

func (d *Todo) tasks(ctx context.Context, limit int, match func(deadlines.Deadline) bool) ([]supervisor.Task, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.catchUp(ctx); err != nil {
		return nil, err
	}
	var rows []deadlines.Row
	for _, stored := range d.rows {
		if row := stored.(*deadlines.Row); match(row.Data) {
			rows = append(rows, *row)
		}
	}
	slices.SortFunc(rows, func(a, b deadlines.Row) int { return a.Data.DueAt.Compare(b.Data.DueAt) })
	var tasks []supervisor.Task
	for _, row := range rows[:min(limit, len(rows))] {
		tasks = append(tasks, supervisor.Task{Stream: row.Stream, Version: row.Version, Worker: row.Data.Worker})
	}
	return tasks, nil
}

// catchUp folds what is new in the log; mu is held.
func (d *Todo) catchUp(ctx context.Context) error {
	for {
		page, err := d.store.ReadAll(ctx, d.position, 0)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, r := range page {
			d.position = r.Position
			if r.Stream.Category() == outage.Category {
				if d.outages, err = commands.Outages.Fold(d.outages, []eventstore.Recorded{r}); err != nil {
					return err
				}
			}
			if err := errors.Join(foldInto(d.rows, deadlines.Model, r), foldInto(d.nodes, nodes.Model, r)); err != nil {
				return err
			}
		}
	}
}
