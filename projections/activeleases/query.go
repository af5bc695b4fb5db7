package activeleases

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/leases"
)

// List answers with leases that are not over, the newest first. The filter's times are not for this read model.
func List(ctx context.Context, db projections.DB, f leases.Filter, opts projections.Options) (projections.Page[leases.Lease], error) {
	return Model.List(ctx, db, f.Question(), projections.NewestFirst, opts)
}

// Cleanups are the leases whose runtime could not be taken down yet.
type Cleanups struct {
	// Pending are those that have ended or are to, Quarantined the ones of them that are tried only once in a long while.
	Pending, Quarantined int64
}

// CountCleanups counts them.
func CountCleanups(ctx context.Context, db projections.DB) (n Cleanups, err error) {
	_, err = projections.Snapshot(ctx, db, Model.Key(), func(tx pgx.Tx, table string) error {
		return tx.QueryRow(ctx, "SELECT count(*), count(*) FILTER (WHERE cleanup = 'failed') FROM "+table+" WHERE "+stuck).Scan(&n.Pending, &n.Quarantined)
	})
	return n, err
}

// stuck picks leases with a failed teardown, and those that failed and have something left.
const stuck = "status IN ('pending_cleanup', 'failed')"

// Stuck answers with a page of the leases whose runtime could not be taken down yet, the oldest first.
func Stuck(ctx context.Context, db projections.DB, opts projections.Options) (projections.Page[leases.Lease], error) {
	var q projections.Question
	q.And(stuck)
	return Model.List(ctx, db, q, projections.OldestFirst, opts)
}
