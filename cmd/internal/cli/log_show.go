package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func (r *root) logShow() *cobra.Command {
	return r.verb(verb{
		use:   "show",
		short: "Show which log this is, and whether it has forked",
		long: "A log has forked when the database was failed over, restored or copied: there may be two continuations of it. Its epoch\n" +
			"is raised then, and nothing is driven until it is adopted; requests and renewals are accepted and wait.",
		examples: [2]string{"tenure log show", "tenure log show -o json"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, _ []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			l, err := c.Log(ctx)
			if err != nil {
				return err
			}
			return logView.show(r, l)
		},
	})
}
