package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
)

func (r *root) queue() *cobra.Command {
	var env string
	var limit int
	cmd := r.companyFlag(r.verb(verb{
		use:   "queue",
		short: "List who waits for a slot of an environment, the next one first",
		long: "The order is that of the grants if nobody else comes: by priority, then by weighted turns of the fairness keys (the agents,\n" +
			"unless requests say otherwise), then by age. Nobody is overtaken without bound: whoever waits longest and has been\n" +
			"overtaken as often as the queue has places (at least 32 times) is next.",
		examples: [2]string{"tenure queue --env local", "tenure queue --env local --limit 10 -o wide"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, _ []string) error {
			if env == "" {
				return usagef("env: is missing").mendBy("name the environment with --env")
			}
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			e, err := r.environment(ctx, c, env)
			if err != nil {
				return err
			}
			q, err := c.Queue(ctx, e.ID, client.Page("", limit))
			if err != nil {
				return err
			}
			slots := fmt.Sprintf("%d of %d slots are taken", q.Held, q.Capacity)
			if q.Capacity == 0 {
				slots = fmt.Sprintf("%d slots are taken, without a limit", q.Held)
			}
			fmt.Fprintf(r.progress(), "%s; %d wait, at most %d may\n", slots, q.Queued, q.MaxQueued)
			return queueView.list(r, q.Items)
		},
	}))
	cmd.Flags().StringVar(&env, "env", "", "`name` or id of the environment")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most `N`; 0 is the first 100")
	return cmd
}
