// Package leaks is the read model of what may be left outside although no lease looks after it, and of what once was.
package leaks

import (
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/projections"
)

// Leak is a leak as it stands.
type Leak struct {
	ID domain.LeakID
	leak.State
}

// Row is a leak and its place in the log.
type Row = projections.Row[Leak]

// Model is the read model.
var Model = &projections.Definition[Leak]{
	Name: "leaks", Revision: 1,
	Categories: []string{leak.Category},
	Columns: []projections.Column[Leak]{
		{Name: "company_id", Type: "uuid", Of: func(l *Leak) any { return l.Found.Company.UUID }},
		{Name: "environment_id", Type: "uuid", Of: func(l *Leak) any { return l.Found.Environment.UUID }},
		{Name: "lease_id", Type: "uuid", Of: func(l *Leak) any { return l.Found.Lease.UUID }},
		{Name: "runtime_id", Type: "uuid", Of: func(l *Leak) any { return l.Found.Runtime.UUID }},
		{Name: "provider", Type: "text NOT NULL", Of: func(l *Leak) any { return l.Found.Provider }},
		{Name: "why", Type: "text NOT NULL", Of: func(l *Leak) any { return l.Found.Why.String() }},
		{Name: "status", Type: "text NOT NULL", Of: func(l *Leak) any { return l.Status.String() }},
	},
	Indexes: []string{"(company_id, created)", "(created) WHERE status = 'open'"},
	Apply:   apply,
}

func apply(l *Leak, e *projections.Event) (bool, error) {
	var err error
	if l.ID, err = projections.IDOf[domain.LeakID](e); err != nil {
		return false, err
	}
	return true, projections.Take(&l.State, e, leak.Codec, leak.Evolve)
}
