package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
)

func (r *root) leaseAcquire() *cobra.Command {
	var flags acquireFlags
	var pairs *[]string
	cmd := r.companyFlag(r.verb(verb{
		use:   "acquire",
		short: "Lease an environment and keep the lease",
		long: "It waits until the lease is active. If that takes longer than --wait, or is interrupted, the lease is given up.\n" +
			"With --wait 0 it asks and does not wait.",
		examples: [2]string{
			"tenure lease acquire --env local",
			"tenure lease acquire --env local --run nightly-42 --ttl 2h -o name",
		},
		exits: withCode(exitsOfCalls, exitNotGranted),
		run: func(ctx context.Context, _ []string) (err error) {
			if flags.in.Env, err = r.variables(*pairs); err != nil {
				return err
			}
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			a, err := r.acquisition(ctx, c, &flags)
			if err != nil {
				return err
			}
			if flags.wait <= 0 {
				acquired, _, err := c.AcquireLease(ctx, a.company, a.in, client.IdempotencyKey(a.key))
				if err != nil {
					return err
				}
				visible(ctx, acquired.Position, leasesOf(c, a.company, client.LeaseFilter{}))
				return leaseView.show(r, acquired.Lease)
			}
			acquired, err := a.ready(ctx, flags.wait)
			if err != nil {
				return err
			}
			visible(ctx, acquired.Position, leasesOf(c, a.company, client.LeaseFilter{}))
			return leaseView.show(r, acquired.Lease)
		},
	}))
	flags.add(cmd.Flags())
	pairs = r.varFlag(cmd.Flags(), "is in the environment of every command of the lease")
	cmd.Flags().DurationVar(&flags.wait, "wait", 2*time.Minute, "how long to wait for the lease; 0 does not")
	return cmd
}
