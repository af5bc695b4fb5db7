package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) execList() *cobra.Command {
	return r.verb(verb{
		use:   "list LEASE",
		short: "List the commands of a lease, the newest first",
		examples: [2]string{
			"tenure exec list 01890a5d-ac96-774b-bcce-b302099a8057",
			"tenure exec list 01890a5d-ac96-774b-bcce-b302099a8057 -o wide",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			id, err := parseID("LEASE", args[0])
			if err != nil {
				return err
			}
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			execs, err := all(ctx, func(ctx context.Context, o ...client.CallOption) (wire.List[wire.Exec], error) {
				return c.Execs(ctx, id, o...)
			})
			if err != nil {
				return err
			}
			return execView.list(r, execs)
		},
	})
}

// endOf spells how a command ended, in a word or two.
func endOf(result *wire.ExecResult) string {
	switch {
	case result == nil:
		return ""
	case result.ExitCode != nil:
		return "exit " + number(*result.ExitCode)
	case text(result.Signal) != "":
		return *result.Signal
	}
	return result.End
}

// commandLine spells a command for people; it is not meant to be run.
func commandLine(argv []string) string {
	words := make([]string, len(argv))
	for i, a := range argv {
		words[i] = a
		if a == "" || strings.ContainsAny(a, " \t\n\"'\\$") {
			words[i] = fmt.Sprintf("%q", a)
		}
	}
	const most = 80
	if line := []rune(strings.Join(words, " ")); len(line) > most {
		return string(line[:most]) + "…"
	}
	return strings.Join(words, " ")
}
