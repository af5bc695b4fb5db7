package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func (r *root) execShow() *cobra.Command {
	return r.verb(verb{
		use:   "show EXEC",
		short: "Show a command and how it ended",
		examples: [2]string{
			"tenure exec show 01890a5d-ac96-774b-bcce-b302099a8057",
			"tenure exec show 01890a5d-ac96-774b-bcce-b302099a8057 -o json",
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
			x, err := c.Exec(ctx, id)
			if err != nil {
				return err
			}
			return execView.show(r, x)
		},
	})
}
