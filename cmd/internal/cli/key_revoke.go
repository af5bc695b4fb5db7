package cli

import (
	"context"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
)

func (r *root) keyRevoke() *cobra.Command {
	return r.verb(verb{
		use:   "revoke KEY-ID",
		short: "End a key at once and for good",
		examples: [2]string{
			"tenure key revoke 01890a5d-ac96-774b-bcce-b302099a8057",
			"tenure key revoke 01890a5d-ac96-774b-bcce-b302099a8057 -o json",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			id, err := parseID("KEY-ID", args[0])
			if err != nil {
				return err
			}
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			key, err := c.RevokeKey(ctx, id)
			if err != nil {
				return err
			}
			if key.CompanyID == nil {
				visible(ctx, key.Position, keysOf(c, uuid.Nil))
			} else {
				visible(ctx, key.Position, keysOf(c, *key.CompanyID))
			}
			return keyView.show(r, key)
		},
	})
}
