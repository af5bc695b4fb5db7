package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
)

func (r *root) execOutput() *cobra.Command {
	var follow bool
	cmd := r.verb(verb{
		use:   "output EXEC",
		short: "Show a command's output again, or go on with it",
		long:  "Its stdout goes to stdout, its stderr to stderr, as bytes. Interrupting does not touch the command.",
		examples: [2]string{
			"tenure exec output 01890a5d-ac96-774b-bcce-b302099a8057",
			"tenure exec output 01890a5d-ac96-774b-bcce-b302099a8057 --follow",
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
			a := &attachment{c: c, id: id, out: r.sink()}
			if follow {
				err = a.follow(ctx)
			} else {
				err = a.present(ctx)
			}
			if err == nil {
				x, err = c.Exec(ctx, id)
			}
			return errors.Join(err, a.out.end(nil, &x))
		},
	})
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the output is complete")
	return cmd
}

// present shows what there is.
func (a *attachment) present(ctx context.Context) error {
	for line, err := range a.c.ExecOutput(ctx, a.id, client.OutputOptions{}) {
		if err != nil {
			return err
		}
		if err := a.out.line(line); err != nil {
			return &sinkError{err}
		}
	}
	return nil
}
