package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"
)

func (r *root) envList() *cobra.Command {
	var archived bool
	cmd := r.companyFlag(r.verb(verb{
		use:      "list",
		short:    "List a company's environments",
		examples: [2]string{"tenure env list", "tenure env list --archived -o wide"},
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
			envs, err := all(ctx, environmentsOf(c, company.ID))
			if err != nil {
				return err
			}
			if !archived {
				envs = slices.DeleteFunc(envs, ended)
			}
			return envView.list(r, envs)
		},
	}))
	cmd.Flags().BoolVar(&archived, "archived", false, "list those that have ended too")
	return cmd
}
