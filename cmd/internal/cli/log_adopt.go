package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) logAdopt() *cobra.Command {
	var in wire.AdoptLog
	cmd := r.verb(verb{
		use:   "adopt",
		short: "Take a log that has forked as it is, and drive again",
		long: "What is adopted is shown first. Events that were lost stay lost: what they had made outside is found by the reaper, or\n" +
			"listed. If the log is a copy and the original goes on, --new-installation gives it an id of its own; the leases that it\n" +
			"inherited end here and are left to the original, whose runtimes are not touched.",
		examples: [2]string{"tenure log adopt --reason failover", "tenure log adopt --new-installation --reason testbed"},
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
			if l.State == wire.LogForked {
				r.tellFork(l)
			}
			in.Epoch = l.Epoch
			if l, err = c.AdoptLog(ctx, in); err != nil {
				return err
			}
			return logView.show(r, l)
		},
	})
	flags := cmd.Flags()
	flags.StringVar(&in.Reason, "reason", "", "why, in your `words`: kept in the log")
	flags.BoolVar(&in.NewInstallation, "new-installation", false, "the log is a copy and the original goes on: leave its leases and runtimes alone")
	flags.BoolVar(&in.Anyway, "anyway", false, "adopt also a log that no server found forked, by a new epoch: you know of a restore that none noticed")
	return cmd
}

// tellFork says on stderr what is about to be adopted.
func (r *root) tellFork(l wire.Log) {
	fmt.Fprintf(r.Stderr, "adopting epoch %d, which ends at position %d: %s\n", l.Epoch, l.Position, strings.Join(foundOf(l), "; "))
	if remembered := rememberedOf(l); remembered != "" {
		fmt.Fprintf(r.Stderr, "remembered: %s; at most %d events are lost\n", remembered, l.LostAtMost)
	}
}
