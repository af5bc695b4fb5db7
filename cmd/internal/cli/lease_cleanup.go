package cli

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) leaseCleanup() *cobra.Command {
	return r.group("cleanup", "The removal of a lease's runtime, where it does not succeed by itself",
		[2]string{
			"tenure lease cleanup retry 01890a5d-ac96-774b-bcce-b302099a8057",
			"tenure lease cleanup force 01890a5d-ac96-774b-bcce-b302099a8057 --reason 'the machine is gone'",
		},
		r.leaseCleanupRetry(), r.leaseCleanupForce())
}

func (r *root) leaseCleanupRetry() *cobra.Command {
	var wait time.Duration
	cmd := r.verb(verb{
		use:   "retry LEASE",
		short: "Try to take a lease's runtime down at once, also out of quarantine",
		long: "After that it is tried as often as at first. It waits until nothing is left, at most --wait; the teardown goes on in\n" +
			"any case.",
		examples: [2]string{
			"tenure lease cleanup retry 01890a5d-ac96-774b-bcce-b302099a8057",
			"tenure lease cleanup retry 01890a5d-ac96-774b-bcce-b302099a8057 --wait 0",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			return r.cleanUp(ctx, args[0], func(c *client.Client, id uuid.UUID) (wire.Lease, error) {
				return c.RetryCleanup(ctx, id, client.Wait(min(max(wait, 0), longestWait)))
			})
		},
	})
	cmd.Flags().DurationVar(&wait, "wait", 30*time.Second, "how long to wait for the teardown; 0 does not")
	return cmd
}

func (r *root) leaseCleanupForce() *cobra.Command {
	var in wire.ForceCleanup
	cmd := r.verb(verb{
		use:   "force LEASE",
		short: "End a lease whose runtime cannot be made or taken down",
		long: "The lease ends and its slot is free. That its runtime is gone is not claimed: it is on the list of leaks (tenure leak list)\n" +
			"until there is a proof of that, or somebody clears it.",
		examples: [2]string{
			"tenure lease cleanup force 01890a5d-ac96-774b-bcce-b302099a8057 --reason 'the machine is gone'",
			"tenure lease cleanup force 01890a5d-ac96-774b-bcce-b302099a8057 --reason 'account closed' -o json",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			if err := needReason(in.Reason); err != nil {
				return err
			}
			return r.cleanUp(ctx, args[0], func(c *client.Client, id uuid.UUID) (wire.Lease, error) { return c.ForceCleanup(ctx, id, in) })
		},
	})
	cmd.Flags().StringVar(&in.Reason, "reason", "", "why, as `text` that goes into the history")
	return cmd
}

func (r *root) cleanUp(ctx context.Context, arg string, do func(*client.Client, uuid.UUID) (wire.Lease, error)) error {
	id, err := parseID("LEASE", arg)
	if err != nil {
		return err
	}
	c, err := r.api(ctx)
	if err != nil {
		return err
	}
	lease, err := do(c, id)
	if err != nil {
		return err
	}
	visible(ctx, lease.Position, leasesOf(c, lease.CompanyID, client.LeaseFilter{}))
	return leaseView.show(r, lease)
}
