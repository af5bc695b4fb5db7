package environments

import (
	"context"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/projections"
)

// Filter picks environments; a zero field picks all.
type Filter struct {
	Company domain.CompanyID
	Name    string
	Driver  string
	Status  environment.Status
}

// List answers with environments, the oldest first.
func List(ctx context.Context, db projections.DB, f Filter, opts projections.Options) (projections.Page[Environment], error) {
	var q projections.Question
	if !f.Company.IsZero() {
		q.Where("company_id = $", f.Company.UUID)
	}
	if f.Name != "" {
		q.Where("name = $", f.Name)
	}
	if f.Driver != "" {
		q.Where("driver = $", f.Driver)
	}
	if f.Status != "" {
		q.Where("status = $", string(f.Status))
	}
	return Model.List(ctx, db, q, projections.OldestFirst, opts)
}
