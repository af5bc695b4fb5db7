package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func (r *root) projectionRetry() *cobra.Command {
	return r.verb(verb{
		use:   "retry NAME STREAM",
		short: "Apply a parked stream again",
		long:  "Do so once the cause is gone: a fixed program, or a database that has room again.",
		examples: [2]string{
			"tenure projection retry leases lease-01890a5d-ac96-774b-bcce-b302099a8057",
			"tenure projection parked leases -o name | xargs -n1 tenure projection retry leases",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			if err := c.RetryParked(ctx, args[0], args[1]); err != nil {
				return err
			}
			return unparkedView.show(r, unparked{args[0], args[1], "applied again"})
		},
	})
}
