package leases

import (
	"context"
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/projections"
)

// Filter picks leases; a zero field picks all.
type Filter struct {
	Company     domain.CompanyID
	Environment domain.EnvironmentID
	Run         string
	// Statuses picks leases of any of these.
	Statuses []lease.Status
	// At picks leases that had been requested and had not ended at that time.
	At time.Time
	// HeldAt picks leases that were active or being taken down at that time.
	HeldAt time.Time
}

// List answers with leases, the newest first.
func List(ctx context.Context, db projections.DB, f Filter, opts projections.Options) (projections.Page[Lease], error) {
	q := f.Question()
	if !f.At.IsZero() {
		q.Where("requested_at <= $ AND (ended_at IS NULL OR ended_at > $)", f.At)
	}
	if !f.HeldAt.IsZero() {
		q.Where("acquired_at <= $ AND (ended_at IS NULL OR ended_at > $)", f.HeldAt)
	}
	return Model.List(ctx, db, q, projections.NewestFirst, opts)
}

// Question is the part of the filter that every read model of leases can answer.
func (f Filter) Question() projections.Question {
	var q projections.Question
	if !f.Company.IsZero() {
		q.Where("company_id = $", f.Company.UUID)
	}
	if !f.Environment.IsZero() {
		q.Where("environment_id = $", f.Environment.UUID)
	}
	if f.Run != "" {
		q.Where("run = $", f.Run)
	}
	if len(f.Statuses) > 0 {
		q.Where("status = ANY($)", projections.Words(f.Statuses))
	}
	return q
}
