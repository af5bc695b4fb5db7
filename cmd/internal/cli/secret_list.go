package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func (r *root) secretList() *cobra.Command {
	return r.companyFlag(r.verb(verb{
		use:      "list",
		short:    "List a company's secrets, without their values",
		examples: [2]string{"tenure secret list", "tenure secret list -o wide"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, _ []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			company, err := r.company(ctx, c)
			if err != nil {
				return err
			}
			secrets, err := all(ctx, secretsOf(c, company.ID))
			if err != nil {
				return err
			}
			return secretView.list(r, secrets)
		},
	}))
}
