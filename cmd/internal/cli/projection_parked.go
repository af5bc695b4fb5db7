package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) projectionParked() *cobra.Command {
	return r.verb(verb{
		use:      "parked NAME",
		short:    "List the streams that a read model left behind",
		long:     "A stream is parked when one of its events could not be applied; the others go on.",
		examples: [2]string{"tenure projection parked leases", "tenure projection parked leases -o name"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			parked, err := all(ctx, func(ctx context.Context, o ...client.CallOption) (wire.List[wire.ParkedStream], error) {
				return c.Parked(ctx, args[0], o...)
			})
			if err != nil {
				return err
			}
			return parkedView.list(r, parked)
		},
	})
}
