package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func (r *root) workerDrain() *cobra.Command {
	return r.verb(verb{
		use:   "drain",
		short: "End the worker of this machine without a gap, and wait until it has ended",
		long: "Its part of the work is given to other workers first; what it does meanwhile goes on. Then it begins nothing new, and\n" +
			"calls of drivers and running commands have its --drain-timeout to finish. SIGTERM does the same. Leases stay as they are.",
		examples:  [2]string{"tenure worker drain", "tenure worker drain --data-dir /srv/tenure-worker"},
		exits:     exitsOfLocal,
		exitNotes: []string{"the worker has ended"},
		run:       func(ctx context.Context, _ []string) error { return r.Drain(ctx, r.flags.dataDir) },
	})
}
