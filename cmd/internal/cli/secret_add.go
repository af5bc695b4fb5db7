package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) secretAdd() *cobra.Command {
	var description string
	var file *string
	cmd := r.companyFlag(r.verb(verb{
		use:   "add NAME",
		short: "Add a secret to a company; its value comes from stdin or a file",
		long:  "The value is never a flag, which every user of the machine could read, and is never shown again.",
		examples: [2]string{
			"tenure secret add deploy-key --from-file id_ed25519",
			"tenure secret add api-token <token.txt",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			value, err := r.secretValue(ctx, *file)
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
			s, err := c.AddSecret(ctx, company.ID, wire.AddSecret{Name: args[0], Description: description, Value: value})
			if err != nil {
				return err
			}
			visible(ctx, s.Position, secretsOf(c, company.ID))
			return secretView.show(r, s)
		},
	}))
	cmd.Flags().StringVar(&description, "description", "", "`text` for people")
	file = fromFileFlag(cmd)
	return cmd
}
