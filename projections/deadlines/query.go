package deadlines

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/projections"
)

// Due answers with what is due by now, the most overdue first, and with how far in the log the answer is. Leases that run
// out are not in it: see [Expiring].
func Due(ctx context.Context, db projections.DB, now time.Time, limit int) ([]Row, int64, error) {
	var q projections.Question
	q.And("kind <> 'expire'")
	q.Where("due_at <= $", now)
	return Model.Rows(ctx, db, q, "due_at, created", limit)
}

// OfWorker answers with all that a worker has claimed.
func OfWorker(ctx context.Context, db projections.DB, worker domain.WorkerID) ([]Row, int64, error) {
	var q projections.Question
	q.Where("worker_id = $", worker.UUID)
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
