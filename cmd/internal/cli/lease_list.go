package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
)

func (r *root) leaseList() *cobra.Command {
	var filter client.LeaseFilter
	var env string
	var limit int
	cmd := r.companyFlag(r.verb(verb{
		use:      "list",
		short:    "List a company's leases, the newest first",
		examples: [2]string{"tenure lease list --status active", "tenure lease list --env local --limit 20 -o wide"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, _ []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			company, err := r.company(ctx, c)
			if err != nil {
				return err
			}
			if env != "" {
				e, err := r.environment(ctx, c, env)
				if err != nil {
					return err
				}
				filter.EnvironmentID = e.ID
			}
			leases, err := some(ctx, limit, leasesOf(c, company.ID, filter))
			if err != nil {
				return err
			}
			return leaseView.list(r, leases)
		},
	}))
	f := cmd.Flags()
	f.StringVar(&filter.Status, "status", "", "only leases with this `status`, such as queued, active or pending_cleanup")
	f.StringVar(&filter.HeartbeatRunID, "run", "", "only leases of this run `id`")
	f.StringVar(&env, "env", "", "only leases of this environment, by `name` or id")
	f.IntVar(&limit, "limit", 0, "at most `N` leases; 0 is all")
	return cmd
}
