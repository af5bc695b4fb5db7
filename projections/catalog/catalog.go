// Package catalog lists the read models.
package catalog

import (
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/activeleases"
	"github.com/tenure-dev/tenure/projections/companies"
	"github.com/tenure-dev/tenure/projections/deadlines"
	"github.com/tenure-dev/tenure/projections/environments"
	"github.com/tenure-dev/tenure/projections/executions"
	"github.com/tenure-dev/tenure/projections/keys"
	"github.com/tenure-dev/tenure/projections/leaks"
	"github.com/tenure-dev/tenure/projections/leases"
	"github.com/tenure-dev/tenure/projections/nodes"
	"github.com/tenure-dev/tenure/projections/plugins"
	"github.com/tenure-dev/tenure/projections/runtimes"
	"github.com/tenure-dev/tenure/projections/secrets"
)

// All are the read models of this program.
func All() []projections.Model {
	return []projections.Model{
		activeleases.Model, companies.Model, deadlines.Model, environments.Model,
		executions.Model, keys.Model, leases.Model, plugins.Model, runtimes.Model, secrets.Model,
		leaks.Model,
		nodes.Model,
	}
}
