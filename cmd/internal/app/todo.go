package app

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/outage"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/projections/deadlines"
	"github.com/tenure-dev/tenure/projections/nodes"
)

// todo is the supervisor's to-do list, from the read model of deadlines.
type todo struct {
	pool *pgxpool.Pool
	// gaps are those in which nobody could renew.
	gaps func() outage.Gaps
}

var _ supervisor.Todo = todo{}

// Due returns what is due.
func (t todo) Due(ctx context.Context, scope supervisor.Scope, now time.Time, limit int) ([]supervisor.Task, error) {
	rows, _, err := deadlines.Due(ctx, t.pool, deadlines.Scope(scope), now, limit)
	return tasks(rows), err
}

// Expiring returns the leases of a scope whose time is over.
func (t todo) Expiring(ctx context.Context, scope supervisor.Scope, now time.Time, limit int) ([]supervisor.Task, error) {
	rows, err := deadlines.Expiring(ctx, t.pool, scope.Partitions, now, t.gaps(), limit)
	return tasks(rows), err
}

// Waiting returns what waits for the node of a scope, and what of its partitions is on a node that is given up.
func (t todo) Waiting(ctx context.Context, scope supervisor.Scope, limit int) ([]supervisor.Task, error) {
	waiting, err := deadlines.Waiting(ctx, t.pool, deadlines.Scope(scope), limit)
	if err != nil {
		return nil, err
	}
	forgotten, err := nodes.Forgotten(ctx, t.pool)
	if err != nil {
		return nil, err
	}
	left, err := deadlines.LeftOn(ctx, t.pool, deadlines.Scope(scope), forgotten, limit)
	return tasks(slices.Concat(waiting, left)), err
}

// Workers returns who has claimed anything.
func (t todo) Workers(ctx context.Context) ([]domain.WorkerID, error) {
	workers, _, err := deadlines.Workers(ctx, t.pool)
	return workers, err
}

// Claimed returns what a worker holds.
func (t todo) Claimed(ctx context.Context, scope supervisor.Scope, worker domain.WorkerID) ([]supervisor.Task, error) {
	rows, _, err := deadlines.OfWorker(ctx, t.pool, deadlines.Scope(scope), worker)
	return tasks(rows), err
}

// Resident returns what is on a node.
func (t todo) Resident(ctx context.Context, node domain.NodeID) ([]supervisor.Task, error) {
	rows, _, err := deadlines.OfNode(ctx, t.pool, node)
	return tasks(rows), err
}

func tasks(rows []deadlines.Row) []supervisor.Task {
	out := make([]supervisor.Task, len(rows))
	for i, r := range rows {
		out[i] = supervisor.Task{Stream: r.Stream, Version: r.Version, Worker: r.Data.Worker}
	}
	return out
}
