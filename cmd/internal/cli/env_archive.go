package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func (r *root) envArchive() *cobra.Command {
	return r.companyFlag(r.verb(verb{
		use:      "archive NAME-OR-ID",
		short:    "Let an environment take no new leases; those that it has go on",
		examples: [2]string{"tenure env archive old", "tenure env archive old -o json"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			env, err := r.environment(ctx, c, args[0])
			if err != nil {
				return err
			}
			if env, err = c.ArchiveEnvironment(ctx, env.ID); err != nil {
				return err
			}
			visible(ctx, env.Position, environmentsOf(c, env.CompanyID))
			return envView.show(r, env)
		},
	}))
}
