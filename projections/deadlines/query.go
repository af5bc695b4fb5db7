package deadlines

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/projections"
)

// Scope is what somebody is to act on: that of some partitions, and that of a node.
type Scope struct {
	Partitions []int
	Node       domain.NodeID
}

func (s Scope) where(q *projections.Question) {
	if s.Node.IsZero() {
		q.Where("partition = ANY ($)", s.Partitions)
		return
	}
	q.Either("partition = ANY ($)", s.Partitions, "node_id = $", s.Node.UUID)
}

// Due answers with what is due by now in a scope, the most overdue first, and with how far in the log the answer is. Leases that
// run out are not in it: see [Expiring].
func Due(ctx context.Context, db projections.DB, scope Scope, now time.Time, limit int) ([]Row, int64, error) {
	var q projections.Question
	q.And("kind <> 'expire'")
	q.Where("due_at <= $", now)
	scope.where(&q)
	return Model.Rows(ctx, db, q, "due_at, created", limit)
}

// OfWorker answers with all in a scope that a worker has claimed.
func OfWorker(ctx context.Context, db projections.DB, scope Scope, worker domain.WorkerID) ([]Row, int64, error) {
	var q projections.Question
	q.Where("worker_id = $", worker.UUID)
	scope.where(&q)
	return Model.Rows(ctx, db, q, "created", 0)
}

// OfNode answers with all that can be driven on a node only.
func OfNode(ctx context.Context, db projections.DB, node domain.NodeID) ([]Row, int64, error) {
	var q projections.Question
	q.Where("node_id = $", node.UUID)
	return Model.Rows(ctx, db, q, "created", 0)
}

// Workers answers with the workers that have claimed anything.
func Workers(ctx context.Context, db projections.DB) ([]domain.WorkerID, int64, error) {
	var workers []domain.WorkerID
	position, err := projections.Snapshot(ctx, db, Model.Key(), func(tx pgx.Tx, table string) error {
		// From one worker to the next by the index: there are few, and a DISTINCT would read the whole table where it is large.
		rows, err := tx.Query(ctx, `
			WITH RECURSIVE w AS (
			  SELECT (SELECT worker_id FROM `+table+` WHERE worker_id IS NOT NULL ORDER BY worker_id LIMIT 1) AS id
			   UNION ALL
			  SELECT (SELECT worker_id FROM `+table+` WHERE worker_id > w.id ORDER BY worker_id LIMIT 1) FROM w WHERE w.id IS NOT NULL
			)
			SELECT id FROM w WHERE id IS NOT NULL`)
		if err != nil {
			return err
		}
		workers, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (id domain.WorkerID, err error) {
			return id, row.Scan((*[16]byte)(&id.UUID))
		})
		return err
	})
	return workers, position, err
}

// Next answers with when the next deadline after now is; ok says whether there is one.
func Next(ctx context.Context, db projections.DB, now time.Time) (at time.Time, ok bool, err error) {
	var q projections.Question
	q.Where("due_at > $", now)
	rows, _, err := Model.Rows(ctx, db, q, "due_at", 1)
	if err != nil || len(rows) == 0 {
		return time.Time{}, false, err
	}
	return rows[0].Data.DueAt, true, nil
}
