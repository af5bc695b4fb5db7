package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) companyAdd() *cobra.Command {
	return r.verb(verb{
		use:      "add NAME",
		short:    "Add a company",
		examples: [2]string{"tenure company add acme", "tenure company add acme -o json"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			company, err := c.AddCompany(ctx, wire.AddCompany{Name: args[0]})
			if err != nil {
				return err
			}
			visible(ctx, company.Position, c.Companies)
			return companyView.show(r, company)
		},
	})
}
