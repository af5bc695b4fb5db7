// Package environments is the read model of the places work may run.
package environments

import (
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/projections"
)

// Environment is an environment as it stands. Its version in the row is what If-Match compares.
type Environment struct {
	ID domain.EnvironmentID
	environment.State
}

// Row is an environment and its place in the log.
type Row = projections.Row[Environment]

// Model is the read model.
var Model = &projections.Definition[Environment]{
	Name: "environments", Revision: 3,
	Categories: []string{environment.Category},
	Columns: []projections.Column[Environment]{
		{Name: "company_id", Type: "uuid", Of: func(e *Environment) any { return e.Company.UUID }},
		{Name: "name", Type: "text NOT NULL", Of: func(e *Environment) any { return e.Name }},
		{Name: "driver", Type: "text NOT NULL", Of: func(e *Environment) any { return e.Driver }},
		{Name: "status", Type: "text NOT NULL", Of: func(e *Environment) any { return e.Status.String() }},
	},
	Indexes: []string{"(company_id, created)", "(company_id, name)"},
	Apply:   apply,
	Tidy:    func(e *Environment) { projections.Absent(&e.Config, &e.Metadata) },
}

func apply(env *Environment, e *projections.Event) (bool, error) {
	var err error
	if env.ID, err = projections.IDOf[domain.EnvironmentID](e); err != nil {
		return false, err
	}
	return true, projections.Take(&env.State, e, environment.Codec, environment.Evolve)
}
