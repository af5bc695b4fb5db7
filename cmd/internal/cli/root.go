package cli

import (
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tenure-dev/tenure/cmd/internal/cli/config"
)

const programName = "tenure"

// root is one call of the command.
type root struct {
	Deps
	flags    globalFlags
	settings *config.Settings
	// serving says that the process is a server, which ends in its own time.
	serving atomic.Bool
}

// globalFlags are the settings that every command knows.
type globalFlags struct {
	server  string
	dataDir string
	output  string
	// company is known to the commands that need one.
	company string
}

func newRoot(d Deps) *root {
	if d.Env == nil {
		d.Env = os.Getenv
	}
	if d.Stdin == nil {
		d.Stdin = strings.NewReader("")
	}
	if d.Stdout == nil {
		d.Stdout = io.Discard
	}
	if d.Stderr == nil {
		d.Stderr = io.Discard
	}
	return &root{Deps: d}
}

func (r *root) command() *cobra.Command {
	cmd := r.verb(verb{
		use:   programName,
		short: "Lease environments to runs, and remember what happened",
		long: "A run leases an environment, works in it and gives it back; each step is an event in a log that is never changed.\n" +
			"Settings: a flag wins over its variable (--data-dir is TENURE_DATA_DIR), that over ~/.config/tenure/config.json.\n" +
			"The API key comes from TENURE_API_KEY, from the file TENURE_API_KEY_FILE, or from admin.key in the data directory.",
		examples: [2]string{"tenure serve", "tenure run --env local -- go version"},
		exits: []int{
			exitDone, exitFailed, exitUsage, exitNotFound, exitNotSignedIn, exitForbidden, exitConflict, exitNotGranted,
			exitUnreachable, exitTimeout, exitOurs, exitInterrupted,
		},
	})
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return missingVerb(cmd, args)
		}
		writeHelp(r.Stdout, cmd)
		return nil
	}
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetIn(r.Stdin)
	cmd.SetOut(r.Stdout)
	cmd.SetErr(r.Stderr)
	cmd.SetFlagErrorFunc(flagError)
	cmd.SetHelpFunc(func(c *cobra.Command, _ []string) { writeHelp(r.Stdout, c) })
	cmd.PersistentPreRunE = func(c *cobra.Command, _ []string) error { return r.prepare(c) }

	flags := cmd.PersistentFlags()
	flags.StringVar(&r.flags.server, "server", "", "base `URL` of the server (default: the one of the data directory, else http://127.0.0.1:7717)")
	flags.StringVar(&r.flags.dataDir, "data-dir", "", "data `directory` of the server on this machine (default: /var/lib/tenure as root, else $XDG_DATA_HOME/tenure or ~/.local/share/tenure)")
	flags.StringVarP(&r.flags.output, "output", "o", formatTable, "`format` of results: "+strings.Join(formats, ", "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))

	cmd.SetHelpCommand(r.helpCommand())
	cmd.AddCommand(
		r.serve(), r.apiServer(), r.workerServer(), r.run(), r.companyGroup(), r.keyGroup(), r.envGroup(), r.secretGroup(), r.keysetGroup(), r.leaseGroup(), r.leakGroup(), r.nodeGroup(), r.queue(), r.exec(), r.pluginGroup(), r.projectionGroup(),
		r.logGroup(), r.clockGroup(),
		r.doctor(), r.completion(), r.version(),
	)
	return cmd
}

// prepare reads the settings before a verb runs.
func (r *root) prepare(cmd *cobra.Command) error {
	settings, err := config.Load(r.Env)
	if err != nil {
		return usagef("%s", err).of(cmd)
	}
	r.settings = settings
	if err := settings.Apply(cmd.Flags(), "server", "data-dir", "output", "company"); err != nil {
		return usagef("%s", err).of(cmd)
	}
	if !slices.Contains(formats, r.flags.output) {
		bad := r.flags.output
		r.flags.output = formatTable
		return usagef("output: there is no format %q", bad).mendBy("use one of: %s", strings.Join(formats, ", ")).of(cmd)
	}
	if r.flags.dataDir == "" {
		// Without a home there is none; who needs it says so.
		r.flags.dataDir, _ = config.DefaultDataDir(r.Env, os.Geteuid())
	}
	return nil
}

// companyFlag adds --company to a command.
func (r *root) companyFlag(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&r.flags.company, "company", "", "`name` or id of the company (default: the only one that the key reaches)")
	return cmd
}

// progress is where to say how things go: stderr when it is a terminal, nowhere otherwise.
func (r *root) progress() io.Writer {
	if isTerminal(r.Stderr) {
		return r.Stderr
	}
	return io.Discard
}

func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
