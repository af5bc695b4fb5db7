package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func (r *root) projectionSkip() *cobra.Command {
	return r.verb(verb{
		use:   "skip NAME STREAM",
		short: "Go on without the event that could not be applied",
		long:  "That event's effect is then missing in the read model until a rebuild; the log keeps it.",
		examples: [2]string{
			"tenure projection skip leases lease-01890a5d-ac96-774b-bcce-b302099a8057",
			"tenure projection parked leases -o name | xargs -n1 tenure projection skip leases",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			if err := c.SkipParked(ctx, args[0], args[1]); err != nil {
				return err
			}
			return unparkedView.show(r, unparked{args[0], args[1], "skipped"})
		},
	})
}
