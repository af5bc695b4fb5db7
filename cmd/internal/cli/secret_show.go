package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) secretShow() *cobra.Command {
	return r.companyFlag(r.verb(verb{
		use:      "show NAME-OR-ID",
		short:    "Show a secret and its versions, without their values",
		examples: [2]string{"tenure secret show deploy-key", "tenure secret show deploy-key -o json"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			s, err := r.secret(ctx, c, args[0])
			if err != nil {
				return err
			}
			return secretView.show(r, s)
		},
	}))
}

func (r *root) secretReads() *cobra.Command {
	var limit int
	cmd := r.companyFlag(r.verb(verb{
		use:      "reads NAME-OR-ID",
		short:    "List who read a secret, for which lease, the oldest read first",
		examples: [2]string{"tenure secret reads deploy-key", "tenure secret reads deploy-key -o wide --limit 20"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			s, err := r.secret(ctx, c, args[0])
			if err != nil {
				return err
			}
			reads, err := some(ctx, limit, func(ctx context.Context, o ...client.CallOption) (wire.List[wire.SecretRead], error) {
				return c.SecretReads(ctx, s.ID, o...)
			})
			if err != nil {
				return err
			}
			return secretReadView.list(r, reads)
		},
	}))
	cmd.Flags().IntVar(&limit, "limit", 0, "most reads to list; 0 is all")
	return cmd
}
