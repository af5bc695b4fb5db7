package cli

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

// execFlags are what of a command comes from the command line, for run and for exec.
type execFlags struct {
	pairs   *[]string
	timeout time.Duration
	cwd     string
}

func (r *root) execFlags(f *pflag.FlagSet) *execFlags {
	x := &execFlags{pairs: r.varFlag(f, "is in the command's environment, which is built from nothing")}
	f.DurationVar(&x.timeout, "timeout", 0, "end the command after this time; 0 does not")
	f.StringVar(&x.cwd, "cwd", "", "`directory` to run in, within the workspace")
	stdinFlag(f)
	return x
}

// request is the command to start. Its id is chosen here, so that it can be killed before the answer is there.
func (r *root) execRequest(f *pflag.FlagSet, x *execFlags, argv []string) (in wire.StartExec, err error) {
	if x.timeout < 0 || x.timeout > 0 && x.timeout < time.Millisecond {
		return in, usagef("timeout: %s is no time to run in", x.timeout).mendBy("give a duration such as 10m, or 0 for no limit")
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return in, err
	}
	in = wire.StartExec{ID: &id, Argv: argv, Cwd: x.cwd, TimeoutMs: x.timeout.Milliseconds()}
	if in.Env, err = r.variables(*x.pairs); err != nil {
		return in, err
	}
	in.StdinBase64, err = r.input(f)
	return in, err
}

// execute starts a command in a lease and shows its output to the end.
func (r *root) execute(ctx context.Context, c *client.Client, lease wire.Lease, in wire.StartExec, out sink) (wire.Exec, error) {
	a := &attachment{c: c, id: *in.ID, out: out}
	if _, err := c.StartExec(ctx, lease.ID, lease.Fence, in); err != nil {
		if ctx.Err() != nil {
			// It may have started all the same.
			clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
			defer cancel()
			_, _ = c.KillExec(clean, a.id, wire.KillExec{Why: "interrupted"})
		}
		return wire.Exec{}, err
	}
	return a.watch(ctx)
}

func (r *root) exec() *cobra.Command {
	var x *execFlags
	var detach bool
	var cmd *cobra.Command
	cmd = r.verb(verb{
		use:   "exec LEASE -- CMD...",
		short: "Run a command in a lease, with live output",
		long: "The command's stdout and stderr are passed through as bytes, its exit code is this program's. An interruption\n" +
			"kills the command; the lease stays. With -o json, stdout is one document with the output and how it ended.",
		examples: [2]string{
			"tenure exec 01890a5d-ac96-774b-bcce-b302099a8057 -- go test ./...",
			"tar c . | tenure exec 01890a5d-ac96-774b-bcce-b302099a8057 -- tar x",
		},
		exits:     exitsOfRemote,
		exitNotes: notesOfRemote,
		run: func(ctx context.Context, args []string) error {
			id, err := parseID("LEASE", args[0])
			if err != nil {
				return err
			}
			in, err := r.execRequest(cmd.Flags(), x, args[1:])
			if err != nil {
				return err
			}
			if err := r.execIn(ctx, id, in, detach); err != nil {
				return &ownError{err}
			}
			return nil
		},
	})
	x = r.execFlags(cmd.Flags())
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "start the command, show it and do not wait for it")
	cmd.AddCommand(r.execList(), r.execShow(), r.execKill(), r.execOutput())
	return cmd
}

func (r *root) execIn(ctx context.Context, id uuid.UUID, in wire.StartExec, detach bool) error {
	c, err := r.api(ctx)
	if err != nil {
		return err
	}
	lease, err := c.Lease(ctx, id)
	if err != nil {
		return err
	}
	if detach {
		x, err := c.StartExec(ctx, lease.ID, lease.Fence, in)
		if err != nil {
			return err
		}
		return execView.show(r, x)
	}
	out := r.sink()
	x, err := r.execute(ctx, c, lease, in, out)
	if err != nil {
		return err
	}
	if err := out.end(&lease, &x); err != nil {
		return &sinkError{err}
	}
	return r.exitOf(x)
}

// exitsOfRemote are the exit codes of who passes a remote command's code through.
var (
	exitsOfRemote = []int{exitRemote, exitUsage, exitTimeout, exitOurs, exitInterrupted}
	notesOfRemote = []string{
		"the command's own code; 128+n if signal n ended it",
		"usage: the command line is wrong, and nothing ran",
		"the command was ended by --timeout",
	}
)

var execView = view[wire.Exec]{
	name: func(x wire.Exec) string { return x.ID.String() },
	columns: []column[wire.Exec]{
		{title: "ID", value: func(x wire.Exec, _ cell) string { return x.ID.String() }},
		{title: "STATUS", value: func(x wire.Exec, _ cell) string { return x.Status }},
		{title: "END", value: func(x wire.Exec, _ cell) string { return endOf(x.Result) }},
		{title: "STARTED", value: func(x wire.Exec, how cell) string { return how.timeOf(x.StartedAt) }},
		{title: "TOOK", value: func(x wire.Exec, _ cell) string {
			if x.StartedAt == nil || x.EndedAt == nil {
				return ""
			}
			return x.EndedAt.Sub(*x.StartedAt).Round(time.Millisecond).String()
		}},
		{title: "COMMAND", value: func(x wire.Exec, _ cell) string { return commandLine(x.Argv) }},
		{title: "LEASE", wide: true, value: func(x wire.Exec, _ cell) string { return x.LeaseID.String() }},
		{title: "OUTPUT", wide: true, value: func(x wire.Exec, _ cell) string {
			if x.Output == nil {
				return "open"
			}
			return x.Output.State
		}},
		{title: "STDOUT BYTES", wide: true, value: func(x wire.Exec, _ cell) string {
			if x.Output == nil {
				return ""
			}
			return number(x.Output.Stdout.Bytes)
		}},
		{title: "STDERR BYTES", wide: true, value: func(x wire.Exec, _ cell) string {
			if x.Output == nil {
				return ""
			}
			return number(x.Output.Stderr.Bytes)
		}},
		{title: "PID", wide: true, value: func(x wire.Exec, _ cell) string {
			if x.PID == nil {
				return ""
			}
			return number(*x.PID)
		}},
	},
}
