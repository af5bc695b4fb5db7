package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) envAdd() *cobra.Command {
	var in wire.AddEnvironment
	var config, metadata, maxTTL string
	var pairs, secretPairs *[]string
	var maxQueued int
	var cmd *cobra.Command
	cmd = r.companyFlag(r.verb(verb{
		use:   "add NAME",
		short: "Add an environment to a company",
		examples: [2]string{
			"tenure env add local --driver local",
			"tenure env add ci --driver local --max-leases 4 --var CI=true --secret-var TOKEN=api-token",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) (err error) {
			in.Name = args[0]
			if cmd.Flags().Changed("max-queued") {
				in.MaxQueued = &maxQueued
			}
			if in.Config, err = r.jsonValue("config", config); err != nil {
				return err
			}
			if in.Metadata, err = r.jsonValue("metadata", metadata); err != nil {
				return err
			}
			if err := checkDuration("max-ttl", maxTTL); err != nil {
				return err
			}
			if maxTTL != "" {
				in.MaxTTL = &maxTTL
			}
			vars, err := r.variables(*pairs)
			if err != nil {
				return err
			}
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			company, err := r.company(ctx, c)
			if err != nil {
				return err
			}
			if in.EnvVars, err = r.withSecrets(ctx, c, vars, *secretPairs); err != nil {
				return err
			}
			env, err := c.AddEnvironment(ctx, company.ID, in)
			if err != nil {
				return err
			}
			visible(ctx, env.Position, environmentsOf(c, env.CompanyID))
			return envView.show(r, env)
		},
	}))
	f := cmd.Flags()
	f.StringVar(&in.Driver, "driver", "local", "`name` of the driver that makes runtimes")
	f.StringVar(&config, "config", "", "the driver's configuration as `JSON`, @FILE, or - for stdin")
	f.StringVar(&metadata, "metadata", "", "your own `JSON` object, carried along; @FILE or - as above")
	f.StringVar(&in.Description, "description", "", "`text` for people")
	f.IntVar(&in.MaxLeases, "max-leases", 0, "most leases at once; 0 is no limit")
	f.IntVar(&maxQueued, "max-queued", 1000, "most leases that wait for a slot at once; 0 lets nobody wait")
	f.StringVar(&maxTTL, "max-ttl", "", "most `duration` of a lease; longer requests are cut to it (default: the server's 720h)")
	pairs = r.varFlag(f, "is in the environment of every command")
	secretPairs = secretVarFlag(f)
	return cmd
}
