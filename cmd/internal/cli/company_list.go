package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func (r *root) companyList() *cobra.Command {
	return r.verb(verb{
		use:      "list",
		short:    "List the companies that the key reaches",
		examples: [2]string{"tenure company list", "tenure company list -o name"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, _ []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			companies, err := all(ctx, c.Companies)
			if err != nil {
				return err
			}
			return companyView.list(r, companies)
		},
	})
}
