// Package leases is the read model of every lease there ever was, with the times at which it went from one status to the
// next.
package leases

import (
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/projections"
)

// Lease is a lease as it stands.
type Lease struct {
	ID domain.LeaseID
	lease.State
	// GrantedAt, ReleaseRequestedAt and CleanedAt are zero until then. The state has the other times.
	GrantedAt          time.Time
	ReleaseRequestedAt time.Time
	// CleanedAt is when nothing was left of it, which may be long after its end.
	CleanedAt time.Time
}

// Row is a lease and its place in the log.
type Row = projections.Row[Lease]

// Model is the read model.
var Model = &projections.Definition[Lease]{
	Name: "leases", Revision: 5,
	Categories: []string{lease.Category},
	Columns: append(Columns(),
		projections.Column[Lease]{Name: "requested_at", Type: "timestamptz", Of: func(l *Lease) any { return l.RequestedAt }},
		projections.Column[Lease]{Name: "granted_at", Type: "timestamptz", Of: func(l *Lease) any { return l.GrantedAt }},
		projections.Column[Lease]{Name: "acquired_at", Type: "timestamptz", Of: func(l *Lease) any { return l.AcquiredAt }},
		projections.Column[Lease]{Name: "ended_at", Type: "timestamptz", Of: func(l *Lease) any { return l.EndedAt }},
	),
	Indexes: []string{"(company_id, created)", "(environment_id, created)", "(company_id, run)"},
	Apply:   func(l *Lease, e *projections.Event) (bool, error) { return true, Apply(l, e) },
	Tidy:    Tidy,
}

// Columns are those by which leases are found, here and in the read model of active ones.
func Columns() []projections.Column[Lease] {
	return []projections.Column[Lease]{
		{Name: "company_id", Type: "uuid", Of: func(l *Lease) any { return l.Company.UUID }},
		{Name: "environment_id", Type: "uuid", Of: func(l *Lease) any { return l.Environment.UUID }},
		{Name: "run", Type: "text NOT NULL", Of: func(l *Lease) any { return l.Run }},
		{Name: "status", Type: "text NOT NULL", Of: func(l *Lease) any { return l.Status().String() }},
		{Name: "cleanup", Type: "text NOT NULL", Of: func(l *Lease) any { return string(l.CleanupStatus()) }},
	}
}

// Apply takes an event into the lease.
func Apply(l *Lease, e *projections.Event) error {
	var err error
	if l.ID, err = projections.IDOf[domain.LeaseID](e); err != nil {
		return err
	}
	if err := projections.Take(&l.State, e, lease.Codec, lease.Evolve); err != nil {
		return err
	}
	note(&l.GrantedAt, l.Granted, e.RecordedAt)
	note(&l.ReleaseRequestedAt, l.ReleaseReason != "", e.RecordedAt)
	note(&l.CleanedAt, l.CleanupStatus() == lease.CleanupSuccess, e.RecordedAt)
	return nil
}

// note sets the time of what has become true.
func note(at *time.Time, happened bool, now time.Time) {
	if happened && at.IsZero() {
		*at = now
	}
}

// Tidy is the Tidy of read models of leases.
func Tidy(l *Lease) { projections.Absent(&l.Config, &l.Metadata) }
