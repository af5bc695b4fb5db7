package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func (r *root) envShow() *cobra.Command {
	return r.companyFlag(r.verb(verb{
		use:      "show NAME-OR-ID",
		short:    "Show an environment",
		examples: [2]string{"tenure env show local", "tenure env show local -o json"},
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
			return envView.show(r, env)
		},
	}))
}
