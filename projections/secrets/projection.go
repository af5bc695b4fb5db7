// Package secrets is the read model of secrets: their names and versions, never their values.
package secrets

import (
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/secret"
	"github.com/tenure-dev/tenure/projections"
)

// Secret is a secret as it stands.
type Secret struct {
	ID domain.SecretID
	secret.State
}

// Row is a secret and its place in the log.
type Row = projections.Row[Secret]

// Model is the read model.
var Model = &projections.Definition[Secret]{
	Name: "secrets", Revision: 1,
	Categories: []string{secret.Category},
	Columns: []projections.Column[Secret]{
		{Name: "company_id", Type: "uuid", Of: func(s *Secret) any { return s.Company.UUID }},
		{Name: "name", Type: "text NOT NULL", Of: func(s *Secret) any { return s.Name }},
		{Name: "status", Type: "text NOT NULL", Of: func(s *Secret) any { return s.Status.String() }},
	},
	Indexes: []string{"(company_id, created)", "(company_id, name)"},
	Apply:   apply,
}

func apply(s *Secret, e *projections.Event) (bool, error) {
	var err error
	if s.ID, err = projections.IDOf[domain.SecretID](e); err != nil {
		return false, err
	}
	return true, projections.Take(&s.State, e, secret.Codec, secret.Evolve)
}
