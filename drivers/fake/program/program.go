// Package program runs Go functions as the commands of a runtime: each has a journal, a timeout and an end, as a process
// has them. The fake drivers, in the engine's process and in a worker, are made of it.
package program

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/journal"
)

// Func is a program. It ends when it returns, and must return soon after ctx is done. Its result is the exit code.
type Func func(ctx context.Context, c Call) int

// Call is what a program gets.
type Call struct {
	drivers.ExecRequest
	out *journal.Writer
}

// Stdout writes to the standard output.
func (c Call) Stdout(s string) { c.out.Append(journal.Stdout, []byte(s)) }

// Stderr writes to the standard error.
func (c Call) Stderr(s string) { c.out.Append(journal.Stderr, []byte(s)) }

// Echo prints its arguments.
func Echo(_ context.Context, c Call) int {
	c.Stdout(strings.Join(c.Argv[1:], " ") + "\n")
	return 0
}

// Cat prints its input.
func Cat(_ context.Context, c Call) int {
	c.Stdout(string(c.Stdin))
	return 0
}

// False exits with 1.
func False(context.Context, Call) int { return 1 }

// Missing is what runs where there is no program of the name.
func Missing(_ context.Context, c Call) int {
	c.Stderr("fake: " + c.Argv[0] + ": command not found\n")
	return 127
}

// Run is one command. It implements [drivers.Exec].
type Run struct {
	process drivers.Process
	// ended is the context of the command; its cause says how it was ended.
	ended  context.Context
	cancel context.CancelCauseFunc
	done   chan struct{}
	result drivers.ExecResult // valid once done is closed
}

// New is a command that has not started: it can be ended all the same. It is followed by [Run.Start].
func New(process drivers.Process) *Run {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &Run{process: process, ended: ctx, cancel: cancel, done: make(chan struct{})}
}

// Start runs f as the command of req, with its output in req.JournalDir; over is called once it has ended, or if it does not
// start, which the error, a [*drivers.StartError], says.
func (r *Run) Start(req drivers.ExecRequest, f Func, over func()) error {
	out, err := journal.Create(req.JournalDir, journal.Options{})
	if err != nil {
		over()
		r.cancel(nil)
		close(r.done)
		return journal.Unusable(err)
	}
	go r.run(f, Call{ExecRequest: req, out: out}, over)
	return nil
}

// ending is the cause of the context of a command that was ended.
type ending struct {
	how drivers.ExecEnd
	why string
}

func (e ending) Error() string { return string(e.how) + ": " + e.why }

func (r *Run) run(f Func, c Call, over func()) {
	defer close(r.done)
	defer over()
	defer r.cancel(nil)
	if c.Timeout > 0 {
		timer := time.AfterFunc(c.Timeout, func() { r.End(drivers.ExecTimedOut, "") })
		defer timer.Stop()
	}
	result := drivers.ExecResult{End: drivers.ExecExited, ExitCode: f(r.ended, c)}
	if e, ok := errors.AsType[ending](context.Cause(r.ended)); ok {
		result = drivers.ExecResult{End: e.how, Why: e.why}
	}
	var err error
	if result.Output, err = c.out.Seal(drivers.OutputComplete); err != nil {
		result.Output.State = drivers.OutputLost
	}
	r.result = result
}

// End tells the command to end; the first call decides how it is said to have ended.
func (r *Run) End(how drivers.ExecEnd, why string) { r.cancel(ending{how, why}) }

// Done is closed when the command has ended, or did not start.
func (r *Run) Done() <-chan struct{} { return r.done }

// Process implements [drivers.Exec].
func (r *Run) Process() drivers.Process { return r.process }

// Wait implements [drivers.Exec].
func (r *Run) Wait(ctx context.Context) (drivers.ExecResult, error) {
	select {
	case <-r.done:
		return r.result, nil
	case <-ctx.Done():
		return drivers.ExecResult{}, context.Cause(ctx)
	}
}

// Kill implements [drivers.Exec].
func (r *Run) Kill(_ context.Context, why string) error {
	r.End(drivers.ExecKilled, why)
	return nil
}

var _ drivers.Exec = (*Run)(nil)
