// Package companies is the read model of who owns environments, leases and keys.
package companies

import (
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/company"
	"github.com/tenure-dev/tenure/projections"
)

// Company is a company as it stands.
type Company struct {
	ID domain.CompanyID
	company.State
}

// Row is a company and its place in the log.
type Row = projections.Row[Company]

// Model is the read model.
var Model = &projections.Definition[Company]{
	Name: "companies", Revision: 2,
	Categories: []string{company.Category},
	Columns: []projections.Column[Company]{
		{Name: "name", Type: "text NOT NULL", Of: func(c *Company) any { return c.Name }},
	},
	Apply: apply,
}

func apply(c *Company, e *projections.Event) (bool, error) {
	var err error
	if c.ID, err = projections.IDOf[domain.CompanyID](e); err != nil {
		return false, err
	}
	return true, projections.Take(&c.State, e, company.Codec, company.Evolve)
}
