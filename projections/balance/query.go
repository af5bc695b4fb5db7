package balance

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/activeleases"
	"github.com/tenure-dev/tenure/projections/leaks"
)

// lookedAfter are the leases that are not over.
func lookedAfter(ctx context.Context, db projections.DB) (map[domain.LeaseID]bool, error) {
	ids := map[domain.LeaseID]bool{}
	_, err := projections.Snapshot(ctx, db, activeleases.Model.Key(), func(tx pgx.Tx, table string) error {
		rows, err := tx.Query(ctx, "SELECT stream FROM "+table)
		if err != nil {
			return err
		}
		streams, err := pgx.CollectRows(rows, pgx.RowTo[string])
		for _, s := range streams {
			id, bad := eventstore.Stream(s).ID()
			if bad != nil {
				return bad
			}
			ids[domain.LeaseID{UUID: id}] = true
		}
		return err
	})
	return ids, err
}

// listed are the runtimes on the list of leaks, and how much is on it that is no runtime of the log's.
func listed(ctx context.Context, db projections.DB) (ids map[domain.RuntimeID]bool, unknown int64, err error) {
	ids = map[domain.RuntimeID]bool{}
	for after := ""; ; {
		page, err := leaks.List(ctx, db, leaks.Filter{Status: leak.StatusOpen}, projections.Options{Limit: projections.MaxLimit, After: after})
		if err != nil {
			return nil, 0, err
		}
		for _, row := range page.Items {
			switch f := row.Data.Found; f.Why {
			case leak.WhyUnknown, leak.WhyExtra:
				unknown++
			case leak.WhyQuarantined, leak.WhyForced, leak.WhyLate, leak.WhyEnded, leak.WhyMismatch:
				ids[f.Runtime] = true
			}
		}
		if after = page.Next; after == "" {
			return ids, unknown, nil
		}
	}
}
