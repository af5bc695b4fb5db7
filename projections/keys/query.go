package keys

import (
	"context"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/key"
	"github.com/tenure-dev/tenure/projections"
)

// Filter picks keys; a zero field picks all.
type Filter struct {
	// Company picks the keys of one company; the keys of every company are in no company's list.
	Company domain.CompanyID
	Status  key.Status
}

// List answers with keys, the oldest first.
func List(ctx context.Context, db projections.DB, f Filter, opts projections.Options) (projections.Page[Key], error) {
	var q projections.Question
	if !f.Company.IsZero() {
		q.Where("company_id = $", f.Company.UUID)
	}
	if f.Status != "" {
		q.Where("status = $", string(f.Status))
	}
	return Model.List(ctx, db, q, projections.OldestFirst, opts)
}

// ByHash answers with the key whose secret has this hash, revoked or not; ok says whether there is one.
func ByHash(ctx context.Context, db projections.DB, hash string) (row Row, ok bool, err error) {
	var q projections.Question
	q.Where("hash = $", hash)
	rows, _, err := Model.Rows(ctx, db, q, "created", 1)
	if err != nil || len(rows) == 0 {
		return Row{}, false, err
	}
	return rows[0], true, nil
}
