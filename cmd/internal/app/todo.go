package app

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenure-dev/tenure/domain/outage"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/projections/deadlines"
)

// todo is the supervisor's to-do list, from the read model of deadlines.
type todo struct {
	pool *pgxpool.Pool
	// gaps are those in which nobody could renew.
	gaps func() outage.Gaps
}

var _ supervisor.Todo = todo{}

// Due returns what is due.
func (t todo) Due(ctx context.Context, now time.Time, limit int) ([]supervisor.Task, error) {
	rows, _, err := deadlines.Due(ctx, t.pool, now, limit)
	return tasks(rows), err
}

// Expiring returns the leases whose time is over.
func (t todo) Expiring(ctx context.Context, now time.Time, limit int) ([]supervisor.Task, error) {
	rows, err := deadlines.Expiring(ctx, t.pool, now, t.gaps(), limit)
	return tasks(rows), err
}

// Claimed returns what workers hold.
func (t todo) Claimed(ctx context.Context) ([]supervisor.Task, error) {
	workers, _, err := deadlines.Workers(ctx, t.pool)
	if err != nil {
		return nil, err
	}
	var out []supervisor.Task
	for _, w := range workers {
		rows, _, err := deadlines.OfWorker(ctx, t.pool, w)
		if err != nil {
			return nil, err
		}
		out = append(out, tasks(rows)...)
	}
	return out, nil
}

func tasks(rows []deadlines.Row) []supervisor.Task {
	out := make([]supervisor.Task, len(rows))
	for i, r := range rows {
		out[i] = supervisor.Task{Stream: r.Stream, Version: r.Version, Worker: r.Data.Worker}
	}
	return out
}
