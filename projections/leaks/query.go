package leaks

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/projections"
)

// Filter picks leaks; a zero field picks all.
type Filter struct {
	Company  domain.CompanyID
	Provider string
	Status   leak.Status
}

// List answers with leaks, the newest first.
func List(ctx context.Context, db projections.DB, f Filter, opts projections.Options) (projections.Page[Leak], error) {
	var q projections.Question
	if !f.Company.IsZero() {
		q.Where("company_id = $", f.Company.UUID)
	}
	if f.Provider != "" {
		q.Where("provider = $", f.Provider)
	}
	if f.Status != leak.StatusNone {
		q.Where("status = $", f.Status.String())
	}
	return Model.List(ctx, db, q, projections.NewestFirst, opts)
}

// Count is how many leaks of a provider are open for one reason.
type Count struct {
	Provider, Why string
	Leaks         int64
}

// Counts answers with how many leaks are open.
func Counts(ctx context.Context, db projections.DB) (counts []Count, err error) {
	_, err = projections.Snapshot(ctx, db, Model.Key(), func(tx pgx.Tx, table string) error {
		rows, err := tx.Query(ctx, "SELECT provider, why, count(*) FROM "+table+" WHERE status = 'open' GROUP BY provider, why ORDER BY provider, why")
		if err != nil {
			return err
		}
		counts, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Count])
		return err
	})
	return counts, err
}
