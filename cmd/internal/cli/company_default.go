package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) companyDefault() *cobra.Command {
	return r.companyFlag(r.verb(verb{
		use:   "default ENV|none",
		short: "Set the environment of runs that name none",
		long: "ENV is the name or id of an active environment of the company; none takes the default back. An environment that is\n" +
			"named none is given by its id.",
		examples: [2]string{"tenure company default ci", "tenure company default none --company acme"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			company, err := r.company(ctx, c)
			if err != nil {
				return err
			}
			patch := map[string]any{"defaultEnvironmentId": nil}
			if args[0] != "none" {
				env, err := r.environment(ctx, c, args[0])
				if err != nil {
					return err
				}
				patch["defaultEnvironmentId"] = env.ID
			}
			if company, err = c.PatchCompany(ctx, company.ID, patch); err != nil {
				return err
			}
			visible(ctx, company.Position, c.Companies)
			return companyView.show(r, company)
		},
	}))
}

func companyDefaultOf(c wire.Company) string {
	if c.DefaultEnvironmentID == nil {
		return "-"
	}
	return c.DefaultEnvironmentID.String()
}
