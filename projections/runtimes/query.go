package runtimes

import (
	"context"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/projections"
)

// Filter picks runtimes; a zero field picks all.
type Filter struct {
	Company     domain.CompanyID
	Environment domain.EnvironmentID
	Lease       domain.LeaseID
	Node        domain.NodeID
	// Existing picks runtimes that are not known to be gone.
	Existing bool
}

// List answers with runtimes, the newest first.
func List(ctx context.Context, db projections.DB, f Filter, opts projections.Options) (projections.Page[Runtime], error) {
	var q projections.Question
	if !f.Company.IsZero() {
		q.Where("company_id = $", f.Company.UUID)
	}
	if !f.Environment.IsZero() {
		q.Where("environment_id = $", f.Environment.UUID)
	}
	if !f.Lease.IsZero() {
		q.Where("lease_id = $", f.Lease.UUID)
	}
	if !f.Node.IsZero() {
		q.Where("node_id = $", f.Node.UUID)
	}
	if f.Existing {
		q.And("status <> 'destroyed'")
	}
	return Model.List(ctx, db, q, projections.NewestFirst, opts)
}
