package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) leaseRenew() *cobra.Command {
	var ttl string
	var fence int64
	cmd := r.verb(verb{
		use:   "renew LEASE",
		short: "Say that a lease is in use, or move its hard end",
		long: "Its idle limit counts from now. With --ttl its hard end moves to now and that much, cut to what the environment allowed\n" +
			"when the lease was asked for. Renewals within a minute, or a tenth of the idle timeout, are one. EXPIRES is what holds.",
		examples: [2]string{
			"tenure lease renew 01890a5d-ac96-774b-bcce-b302099a8057",
			"tenure lease renew 01890a5d-ac96-774b-bcce-b302099a8057 --ttl 2h",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			id, err := parseID("LEASE", args[0])
			if err != nil {
				return err
			}
			if err := checkDuration("ttl", ttl); err != nil {
				return err
			}
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			var in wire.Renew
			if ttl != "" {
				in.TTL = &ttl
			}
			if fence == 0 {
				held, err := c.Lease(ctx, id)
				if err != nil {
					return err
				}
				fence = held.Fence
			}
			lease, err := c.RenewLeaseFor(ctx, id, fence, in)
			if err != nil {
				return err
			}
			visible(ctx, lease.Position, leasesOf(c, lease.CompanyID, client.LeaseFilter{}))
			return leaseView.show(r, lease)
		},
	})
	f := cmd.Flags()
	f.StringVar(&ttl, "ttl", "", "`duration` from now after which the lease ends in any case, such as 2h (default: as it is)")
	f.Int64Var(&fence, "fence", 0, "renew it only if it has this `fence` (default: the one that it has)")
	return cmd
}
