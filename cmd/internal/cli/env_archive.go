package cli

import (
	"context"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) envArchive() *cobra.Command {
	return r.envEnd("archive", "Let an environment take no new leases",
		[2]string{"tenure env archive old", "tenure env archive old --force"}, (*client.Client).ArchiveEnvironment)
}

func (r *root) envDelete() *cobra.Command {
	return r.envEnd("delete", "End an environment for good; its history stays",
		[2]string{"tenure env delete old", "tenure env delete old --force -o json"}, (*client.Client).DeleteEnvironment)
}

type endEnvironment func(*client.Client, context.Context, uuid.UUID, wire.RetireEnvironment, ...client.CallOption) (wire.Environment, error)

// envEnd is a verb that ends an environment, and waits until that is done.
func (r *root) envEnd(name, short string, examples [2]string, end endEnvironment) *cobra.Command {
	var in wire.RetireEnvironment
	cmd := r.companyFlag(r.verb(verb{
		use:   name + " NAME-OR-ID",
		short: short,
		long: "Leases that it has stand in the way, and are listed. With --force they are taken down first; one whose cleanup fails is\n" +
			"on record as waiting for it and does not hold the environment up.",
		examples: examples,
		exits:    exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			env, err := r.environment(ctx, c, args[0])
			if err != nil {
				return err
			}
			for {
				if env, err = end(c, ctx, env.ID, in, client.Wait(callWait)); err != nil {
					return err
				}
				if env.Status == "archived" || env.Status == "deleted" {
					break
				}
			}
			visible(ctx, env.Position, environmentsOf(c, env.CompanyID))
			return envView.show(r, env)
		},
	}))
	cmd.Flags().BoolVar(&in.Force, "force", false, "take down its leases first")
	return cmd
}
