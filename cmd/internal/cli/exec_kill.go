package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) execKill() *cobra.Command {
	var in wire.KillExec
	cmd := r.verb(verb{
		use:   "kill EXEC",
		short: "End a command and everything that it started",
		long:  "It asks and does not wait. Asking again, or after the end, changes nothing.",
		examples: [2]string{
			"tenure exec kill 01890a5d-ac96-774b-bcce-b302099a8057",
			"tenure exec kill 01890a5d-ac96-774b-bcce-b302099a8057 --why 'wrong branch'",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			id, err := parseID("EXEC", args[0])
			if err != nil {
				return err
			}
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			x, err := c.KillExec(ctx, id, in)
			if err != nil {
				return err
			}
			return execView.show(r, x)
		},
	})
	cmd.Flags().StringVar(&in.Why, "why", "", "`reason` that goes into the history")
	return cmd
}
