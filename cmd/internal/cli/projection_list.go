package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func (r *root) projectionList() *cobra.Command {
	return r.verb(verb{
		use:      "list",
		short:    "List the read models and how far they are",
		examples: [2]string{"tenure projection list", "tenure projection list -o json"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, _ []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			projections, err := all(ctx, c.Projections)
			if err != nil {
				return err
			}
			return projectionView.list(r, projections)
		},
	})
}
