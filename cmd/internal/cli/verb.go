package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// verb describes a command. What every help text must have is a field, so that none can be without it.
type verb struct {
	// use is the verb and its arguments in capitals; one in brackets may be left out, one with dots may be repeated.
	use   string
	short string
	long  string
	// examples are shown first.
	examples [2]string
	exits    []int
	// exitNotes replaces the exit codes' usual text, in order.
	exitNotes []string
	// words are the values that the shell completes the first argument with.
	words []string
	run   func(ctx context.Context, args []string) error
}

func (r *root) verb(v verb) *cobra.Command {
	cmd := &cobra.Command{
		Use:               v.use,
		Short:             v.short,
		Long:              v.long,
		Example:           "  " + v.examples[0] + "\n  " + v.examples[1],
		Annotations:       map[string]string{exitNotes: exitLines(v)},
		Args:              checkArguments(v.use),
		ValidArgsFunction: cobra.FixedCompletions(v.words, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			return v.run(cmd.Context(), args)
		},
	}
	return cmd
}

// group is a noun: it does nothing but hold verbs.
func (r *root) group(name, short string, examples [2]string, verbs ...*cobra.Command) *cobra.Command {
	cmd := r.verb(verb{
		use: name, short: short, examples: examples, exits: exitsOfCalls,
		run: func(context.Context, []string) error { return nil },
	})
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return missingVerb(cmd, args) }
	cmd.AddCommand(verbs...)
	return cmd
}

// usageError is a command line that cannot be meant.
type usageError struct {
	message string
	// mend is what to do; "" points at the help.
	mend string
	path string
}

func (e *usageError) Error() string { return e.message }

func (e *usageError) remediation() string {
	if e.mend != "" {
		return e.mend
	}
	return "see " + strings.TrimSpace(e.path+" --help")
}

func usagef(format string, args ...any) *usageError {
	return &usageError{message: fmt.Sprintf(format, args...), path: programName}
}

func (e *usageError) mendBy(format string, args ...any) *usageError {
	e.mend = fmt.Sprintf(format, args...)
	return e
}

func (e *usageError) of(cmd *cobra.Command) *usageError {
	e.path = cmd.CommandPath()
	return e
}

// missingVerb is the answer to a noun without a verb, or with one that does not exist.
func missingVerb(cmd *cobra.Command, args []string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" {
			names = append(names, c.Name())
		}
	}
	if len(args) == 0 {
		return usagef("%s needs a verb", cmd.CommandPath()).mendBy("say one of: %s", strings.Join(names, ", ")).of(cmd)
	}
	err := usagef("unknown command %q for %q", args[0], cmd.CommandPath()).of(cmd)
	if near := nearest(args[0], names); near != "" {
		return err.mendBy("did you mean: %s %s", cmd.CommandPath(), near)
	}
	return err.mendBy("say one of: %s", strings.Join(names, ", "))
}

// flagError is the answer to a flag that does not exist or has a bad value.
func flagError(cmd *cobra.Command, err error) error {
	usage := usagef("%s", err).of(cmd)
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		if near := nearest(unknown.GetSpecifiedName(), names); near != "" {
			usage.mend = "did you mean: --" + near
		}
	}
	return usage
}

// checkArguments counts the arguments against the capitals in a use line.
func checkArguments(use string) cobra.PositionalArgs {
	words := strings.Fields(use)[1:]
	return func(cmd *cobra.Command, args []string) error {
		usage := func(problem string) error {
			return usagef("%s", problem).mendBy("usage: %s", strings.TrimSpace(cmd.CommandPath()+" "+strings.Join(words, " "))).of(cmd)
		}
		least, most := 0, 0
		for _, w := range words {
			if w == "--" {
				continue
			}
			name := strings.Trim(w, "[].")
			most++
			if w[0] != '[' {
				least++
			}
			if len(args) < least {
				return usage(name + " is missing")
			}
			if strings.Contains(w, "...") {
				most = max(most, len(args))
			}
		}
		if len(args) > most {
			return usage(fmt.Sprintf("unexpected argument %q", args[most]))
		}
		return nil
	}
}

// nearest is the name that the typed word was probably meant to be; "" when none is near.
func nearest(typed string, names []string) string {
	best, at := 3, ""
	for _, name := range slices.Sorted(slices.Values(names)) {
		if len(typed) > 1 && strings.HasPrefix(name, typed) {
			return name
		}
		if d := distance(typed, name); d < best && d < len(name) {
			best, at = d, name
		}
	}
	return at
}

// distance counts the letters to change, add or drop (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

// exitNotes is the annotation that holds the end of a help text.
const exitNotes = "exitCodes"

func exitLines(v verb) string {
	var lines strings.Builder
	for i, code := range v.exits {
		text := exitText(code)
		if i < len(v.exitNotes) && v.exitNotes[i] != "" {
			text = v.exitNotes[i]
		}
		name := strconv.Itoa(code)
		if code == exitRemote {
			name = "N"
		}
		fmt.Fprintf(&lines, "  %-4s %s\n", name, text)
	}
	return strings.TrimRight(lines.String(), "\n")
}

// exitRemote stands in a list of exit codes for the remote command's own.
const exitRemote = -1
