package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) leaseRelease() *cobra.Command {
	var in wire.Release
	var run string
	var wait time.Duration
	cmd := r.companyFlag(r.verb(verb{
		use:   "release [LEASE...]",
		short: "Give leases back, by id or all of a run",
		long: "It waits until the runtime is gone, at most --wait; the teardown goes on in any case. Releasing again changes\n" +
			"nothing.",
		examples: [2]string{
			"tenure lease release 01890a5d-ac96-774b-bcce-b302099a8057",
			"tenure lease release --run nightly-42 --status failed",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			if (run == "") == (len(args) == 0) {
				return usagef("name either leases or a run").mendBy("give LEASE, or --run ID")
			}
			if !slices.Contains(releaseStatuses, in.Status) {
				return usagef("status: a lease does not end as %q", in.Status).mendBy("use one of: %s", strings.Join(releaseStatuses, ", "))
			}
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			leases, err := r.release(ctx, c, run, args, in, wait)
			if shown := leaseView.list(r, leases); err == nil {
				err = shown
			}
			return err
		},
	}))
	f := cmd.Flags()
	f.StringVar(&run, "run", "", "release every lease of this run `id`")
	f.StringVar(&in.Status, "status", "released", "what the lease ends as: "+strings.Join(releaseStatuses, ", "))
	f.StringVar(&in.Disposition, "disposition", "", "what becomes of the runtime: destroy, keep_running or stop_and_retain (default: as the policy says)")
	f.StringVar(&in.Message, "message", "", "`text` that goes into the history")
	f.DurationVar(&wait, "wait", 30*time.Second, "how long to wait for the teardown; 0 does not")
	return cmd
}

var releaseStatuses = []string{"released", "expired", "failed"}

// release asks for every lease, also when one of them is refused; the answers that came are returned with the errors.
func (r *root) release(ctx context.Context, c *client.Client, run string, ids []string, in wire.Release, wait time.Duration) ([]wire.Lease, error) {
	leases := []wire.Lease{}
	if run != "" {
		company, err := r.company(ctx, c)
		if err != nil {
			return leases, err
		}
		done, err := c.ReleaseRun(ctx, company.ID, run, in, client.Wait(min(max(wait, 0), longestWait)))
		visible(ctx, done.Position, leasesOf(c, company.ID, client.LeaseFilter{}))
		for _, l := range done.Released {
			leases = append(leases, l.Lease)
		}
		return leases, err
	}
	var problems []error
	for _, arg := range ids {
		id, err := parseID("LEASE", arg)
		if err == nil {
			var opts []client.CallOption
			if wait > 0 {
				opts = append(opts, client.Wait(min(wait, longestWait)))
			}
			var lease wire.Lease
			if lease, err = c.ReleaseLease(ctx, id, in, opts...); err == nil {
				visible(ctx, lease.Position, leasesOf(c, lease.CompanyID, client.LeaseFilter{}))
				leases = append(leases, lease)
			}
		}
		if err != nil {
			problems = append(problems, err)
		}
	}
	return leases, errors.Join(problems...)
}

// longestWait is the most that a server waits for.
const longestWait = 120 * time.Second
