// Package cli is the tenure command: noun, then verb, one file each.
//
//	argv ──► root (settings: flag > TENURE_* > context > default) ──► verb ──► api/client ──► server
//	                                                                  │
//	                 exit code ◄── failure.go (the one mapping) ◄──── error
//
// The CLI has no private door: whatever a verb does, it does through api/client, as any other program could. Only what
// concerns this machine is no API call (serve, api, worker, worker drain, keyset, plugin test); the composition root hands that in.
//
// Results go to stdout, news and errors to stderr, progress to stderr when that is a terminal and nowhere else. With
// -o json stdout holds exactly one document and an error is one line of JSON on stderr.
package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Deps is what the command gets from the process that it runs in.
type Deps struct {
	Version string
	// Serve runs a server until ctx ends and returns once everything is down. It logs to stderr and prints there one line
	// "listening on http://ADDRESS".
	Serve func(ctx context.Context, o ServeOptions, stderr io.Writer) error
	// Conformance checks a plugin without a server, writes the report and returns how many checks failed.
	Conformance func(ctx context.Context, o ConformanceOptions, stdout io.Writer) (failed int, err error)
	// Drain ends the server process of a data directory and returns when it has ended.
	Drain func(ctx context.Context, dataDir string) error
	// Keysets changes the keyset of a data directory.
	Keysets Keysets
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	// Env answers with the value of a variable, "" when it is not set.
	Env func(string) string
}

// New makes the command. Errors come back from Execute; nothing is printed about them.
func New(d Deps) *cobra.Command { return newRoot(d).command() }

// Main runs the command and answers with its exit code. The first SIGINT, SIGTERM or SIGHUP ends what runs in an orderly
// way, and a second one ends the process at once with 130, except under serve, whose own end is bounded.
func Main(ctx context.Context, d Deps, args []string) int {
	r := newRoot(d)
	ctx, stop := r.watchSignals(ctx)
	defer stop()
	cmd := r.command()
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	f := explain(err)
	if !f.quiet {
		f.print(d.Stderr, r.wantsJSON(args))
	}
	return f.ExitCode
}

// watchSignals ends the context at the first signal. SIGPIPE is caught so that a reader who leaves (run … | head) is an
// error of Write instead of the death of this process, which would leave a lease behind.
func (r *root) watchSignals(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-signals:
				if ctx.Err() != nil && !r.serving.Load() {
					os.Exit(exitInterrupted)
				}
				cancel(errInterrupted)
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		signal.Stop(pipe)
		close(done)
		<-ended
		cancel(nil)
	}
}
