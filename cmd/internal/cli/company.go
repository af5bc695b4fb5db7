package cli

import (
	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) companyGroup() *cobra.Command {
	return r.group("company", "Companies own environments, leases and keys",
		[2]string{"tenure company add acme", "tenure company list"},
		r.companyAdd(), r.companyList(), r.companyDefault())
}

var companyView = view[wire.Company]{
	name: func(c wire.Company) string { return c.Name },
	columns: []column[wire.Company]{
		{title: "NAME", value: func(c wire.Company, _ cell) string { return c.Name }},
		{title: "ID", value: func(c wire.Company, _ cell) string { return c.ID.String() }},
		{title: "ADDED", value: func(c wire.Company, how cell) string { return how.time(c.CreatedAt) }},
		{title: "DEFAULT", value: func(c wire.Company, _ cell) string { return companyDefaultOf(c) }},
	},
}
