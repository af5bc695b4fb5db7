package runtimes

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/eventstore"
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
		q.And("status NOT IN ('destroyed', 'disowned')")
	}
	return Model.List(ctx, db, q, projections.NewestFirst, opts)
}

// ForgottenOn answers with the leases whose runtimes were given up with a node.
func ForgottenOn(ctx context.Context, db projections.DB, node domain.NodeID) ([]domain.LeaseID, error) {
	var q projections.Question
	q.Where("forgotten_on = $", node.UUID)
	rows, _, err := Model.Rows(ctx, db, q, "created", 0)
	ids := make([]domain.LeaseID, len(rows))
	for i, r := range rows {
		ids[i] = r.Data.Last
	}
	return ids, err
}

// Existing is a runtime that is not known to be gone.
type Existing struct {
	ID     domain.RuntimeID
	Status runtime.Status
	// Lease is the one that it was intended for.
	Lease domain.LeaseID
}

// Inventory answers with how many runtimes there ever were and with those that are not known to be gone, both as of one
// moment.
func Inventory(ctx context.Context, db projections.DB) (created int64, existing []Existing, err error) {
	_, err = projections.Snapshot(ctx, db, Model.Key(), func(tx pgx.Tx, table string) error {
		if err := tx.QueryRow(ctx, "SELECT count(*) FROM "+table).Scan(&created); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, "SELECT stream, status, lease_id FROM "+table+" WHERE status <> 'destroyed' ORDER BY created")
		if err != nil {
			return err
		}
		existing, err = pgx.CollectRows(rows, scanExisting)
		return err
	})
	return created, existing, err
}

func scanExisting(row pgx.CollectableRow) (r Existing, err error) {
	var stream, status string
	var lease *[16]byte
	if err := row.Scan(&stream, &status, &lease); err != nil {
		return r, err
	}
	r.ID.UUID, err = eventstore.Stream(stream).ID()
	r.Status = runtime.Status(status)
	if lease != nil {
		r.Lease.UUID = *lease
	}
	return r, err
}
