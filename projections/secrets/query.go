package secrets

import (
	"context"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/projections"
)

// Filter picks secrets; a zero field picks all.
type Filter struct {
	Company domain.CompanyID
	Name    string
}

// List answers with secrets, the oldest first.
func List(ctx context.Context, db projections.DB, f Filter, opts projections.Options) (projections.Page[Secret], error) {
	var q projections.Question
	if !f.Company.IsZero() {
		q.Where("company_id = $", f.Company.UUID)
	}
	if f.Name != "" {
		q.Where("name = $", f.Name)
	}
	return Model.List(ctx, db, q, projections.OldestFirst, opts)
}
