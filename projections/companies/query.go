package companies

import (
	"context"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/company"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections"
)

// Filter picks companies; a zero field picks all.
type Filter struct {
	ID   domain.CompanyID
	Name string
}

// List answers with companies, the oldest first.
func List(ctx context.Context, db projections.DB, f Filter, opts projections.Options) (projections.Page[Company], error) {
	var q projections.Question
	if !f.ID.IsZero() {
		q.Where("stream = $", string(eventstore.StreamOf(company.Category, f.ID.UUID)))
	}
	if f.Name != "" {
		q.Where("name = $", f.Name)
	}
	return Model.List(ctx, db, q, projections.OldestFirst, opts)
}
