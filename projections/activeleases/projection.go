// Package activeleases is the read model of the leases that are not over: those that have not ended, and those that have
// but of which something may be left outside. It stays small however long the history is.
package activeleases

import (
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/leases"
)

// Row is a lease and its place in the log.
type Row = leases.Row

// Model is the read model.
var Model = &projections.Definition[leases.Lease]{
	Name: "active_leases", Revision: 5,
	Categories: []string{lease.Category},
	Columns:    leases.Columns(),
	Indexes:    []string{"(company_id, created)", "(environment_id, created)", "(company_id, run)"},
	Apply:      apply,
	Tidy:       leases.Tidy,
}

func apply(l *leases.Lease, e *projections.Event) (bool, error) {
	if err := leases.Apply(l, e); err != nil {
		return false, err
	}
	return !l.Over(), nil
}
