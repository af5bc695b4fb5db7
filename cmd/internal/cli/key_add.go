package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) keyAdd() *cobra.Command {
	var role string
	var every bool
	cmd := r.companyFlag(r.verb(verb{
		use:   "add NAME",
		short: "Add an API key and show it, once",
		long:  "The server keeps a hash only. With -o name the key alone is printed, for a file or a secret store.",
		examples: [2]string{
			"tenure key add ci --role client",
			"tenure key add ci --role client --company acme -o name >ci.key",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			company, err := r.keyOwner(ctx, c, every)
			if err != nil {
				return err
			}
			key, err := c.AddKey(ctx, company, wire.AddKey{Name: args[0], Role: role})
			if err != nil {
				return err
			}
			visible(ctx, key.Position, keysOf(c, company))
			shown := keyView
			shown.name = func(k wire.Key) string { return k.Key }
			shown.columns = append([]column[wire.Key]{
				{title: "KEY", value: func(k wire.Key, _ cell) string { return k.Key }},
			}, keyView.columns...)
			return shown.show(r, key)
		},
	}))
	cmd.Flags().StringVar(&role, "role", "client", "what the key is for: client, auditor, operator or admin")
	cmd.Flags().BoolVar(&every, "all-companies", false, "let the key reach every company")
	return cmd
}
