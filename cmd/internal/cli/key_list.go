package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func (r *root) keyList() *cobra.Command {
	var every bool
	cmd := r.companyFlag(r.verb(verb{
		use:      "list",
		short:    "List a company's keys, without the keys themselves",
		examples: [2]string{"tenure key list", "tenure key list --all-companies -o wide"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, _ []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			company, err := r.keyOwner(ctx, c, every)
			if err != nil {
				return err
			}
			keys, err := all(ctx, keysOf(c, company))
			if err != nil {
				return err
			}
			return keyView.list(r, keys)
		},
	}))
	cmd.Flags().BoolVar(&every, "all-companies", false, "list the keys that reach every company")
	return cmd
}
