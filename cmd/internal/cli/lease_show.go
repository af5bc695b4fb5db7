package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func (r *root) leaseShow() *cobra.Command {
	return r.verb(verb{
		use:   "show LEASE",
		short: "Show a lease as it is now",
		examples: [2]string{
			"tenure lease show 01890a5d-ac96-774b-bcce-b302099a8057",
			"tenure lease show 01890a5d-ac96-774b-bcce-b302099a8057 -o json",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			id, err := parseID("LEASE", args[0])
			if err != nil {
				return err
			}
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			lease, err := c.Lease(ctx, id)
			if err != nil {
				return err
			}
			return leaseView.show(r, lease)
		},
	})
}
