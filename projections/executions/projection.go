// Package executions is the read model of commands in leases.
package executions

import (
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/projections"
)

// Execution is a command as it stands.
type Execution struct {
	ID domain.ExecID
	execution.State
}

// Row is a command and its place in the log.
type Row = projections.Row[Execution]

// Model is the read model.
var Model = &projections.Definition[Execution]{
	Name: "executions", Revision: 2,
	Categories: []string{execution.Category},
	Columns: []projections.Column[Execution]{
		{Name: "company_id", Type: "uuid", Of: func(x *Execution) any { return x.Request.Company.UUID }},
		{Name: "lease_id", Type: "uuid", Of: func(x *Execution) any { return x.Request.Lease.UUID }},
		{Name: "status", Type: "text NOT NULL", Of: func(x *Execution) any { return x.Status.String() }},
	},
	Indexes: []string{"(lease_id, created)", "(company_id, created)"},
	Apply:   apply,
}

func apply(x *Execution, e *projections.Event) (bool, error) {
	var err error
	if x.ID, err = projections.IDOf[domain.ExecID](e); err != nil {
		return false, err
	}
	return true, projections.Take(&x.State, e, execution.Codec, execution.Evolve)
}
