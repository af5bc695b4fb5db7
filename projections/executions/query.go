package executions

import (
	"context"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/projections"
)

// Filter picks commands; a zero field picks all.
type Filter struct {
	Company domain.CompanyID
	Lease   domain.LeaseID
	// Statuses picks commands of any of these.
	Statuses []execution.Status
}

// List answers with commands, the newest first.
func List(ctx context.Context, db projections.DB, f Filter, opts projections.Options) (projections.Page[Execution], error) {
	var q projections.Question
	if !f.Company.IsZero() {
		q.Where("company_id = $", f.Company.UUID)
	}
	if !f.Lease.IsZero() {
		q.Where("lease_id = $", f.Lease.UUID)
	}
	if len(f.Statuses) > 0 {
		q.Where("status = ANY($)", projections.Words(f.Statuses))
	}
	return Model.List(ctx, db, q, projections.NewestFirst, opts)
}
