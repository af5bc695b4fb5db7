package fake

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/journal"
)

// Command is a program. It ends when it returns, and must return soon after ctx is done. Its result is the exit code.
type Command func(ctx context.Context, c Call) int

// Call is what a program gets.
type Call struct {
	drivers.ExecRequest
	out *journal.Writer
}

// Stdout writes to the standard output.
func (c Call) Stdout(s string) { c.out.Append(journal.Stdout, []byte(s)) }

// Stderr writes to the standard error.
func (c Call) Stderr(s string) { c.out.Append(journal.Stderr, []byte(s)) }

var builtin = map[string]Command{
	"echo": func(_ context.Context, c Call) int {
		c.Stdout(strings.Join(c.Argv[1:], " ") + "\n")
		return 0
	},
	"cat": func(_ context.Context, c Call) int {
		c.Stdout(string(c.Stdin))
		return 0
	},
	"false": func(context.Context, Call) int { return 1 },
	// sleep sleeps until it is ended, whatever its argument.
	"sleep": func(ctx context.Context, _ Call) int {
		<-ctx.Done()
		return 0
	},
}

// StartExec implements [drivers.Executor].
func (d *Driver) StartExec(ctx context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	if err := drivers.Refuse(drivers.ValidateExec(req)); err != nil {
		return nil, err
	}
	if before := d.opts.Hooks.BeforeExec; before != nil {
		if err := before(ctx, req); err != nil {
			return nil, err
		}
	}
	r := &run{driver: d, runtimeID: req.RuntimeID, done: make(chan struct{})}
	runCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	r.cancel = cancel
	if err := d.enter(r); err != nil {
		return nil, err
	}
	out, err := journal.Create(req.JournalDir, journal.Options{})
	if err != nil {
		d.leave(r)
		close(r.done)
		return nil, journal.Unusable(err)
	}
	command, ok := d.opts.Commands[req.Argv[0]]
	if !ok {
		command, ok = builtin[req.Argv[0]]
	}
	if !ok {
		command = notFound
	}
	go r.run(runCtx, command, Call{ExecRequest: req, out: out})
	return r, nil
}

func notFound(_ context.Context, c Call) int {
	c.Stderr("fake: " + c.Argv[0] + ": command not found\n")
	return 127
}

// enter registers r, so that Release finds it, in a runtime that must exist.
func (d *Driver) enter(r *run) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range d.live {
		if i.Request.RuntimeID != r.runtimeID {
			continue
		}
		d.nextPID++
		d.startTime += 10
		r.process = drivers.Process{PID: d.nextPID, StartTime: d.startTime, BootID: "fake"}
		d.execs[r] = struct{}{}
		return nil
	}
	return &drivers.StartError{Stage: "runtime", Code: "runtime_gone", Remediation: "acquire a new lease", Err: drivers.ErrGone}
}

func (d *Driver) leave(r *run) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.execs, r)
}

// run is one command.
type run struct {
	driver    *Driver
	runtimeID string
	process   drivers.Process
	cancel    context.CancelCauseFunc
	done      chan struct{}
	result    drivers.ExecResult // valid once done is closed
}

// ended is the cause of the context of a command that was ended.
type ended struct {
	how drivers.ExecEnd
	why string
}

func (e ended) Error() string { return string(e.how) + ": " + e.why }

func (r *run) run(ctx context.Context, command Command, c Call) {
	defer close(r.done)
	defer r.driver.leave(r)
	defer r.cancel(nil)
	if c.Timeout > 0 {
		timer := time.AfterFunc(c.Timeout, func() { r.end(drivers.ExecTimedOut, "") })
		defer timer.Stop()
	}
	code := command(ctx, c)
	result := drivers.ExecResult{End: drivers.ExecExited, ExitCode: code}
	if e, ok := errors.AsType[ended](context.Cause(ctx)); ok {
		result = drivers.ExecResult{End: e.how, Why: e.why}
	}
	var err error
	if result.Output, err = c.out.Seal(drivers.OutputComplete); err != nil {
		result.Output.State = drivers.OutputLost
	}
	r.result = result
}

func (r *run) end(how drivers.ExecEnd, why string) { r.cancel(ended{how, why}) }

// Process implements [drivers.Exec].
func (r *run) Process() drivers.Process { return r.process }

// Wait implements [drivers.Exec].
func (r *run) Wait(ctx context.Context) (drivers.ExecResult, error) {
	select {
	case <-r.done:
		return r.result, nil
	case <-ctx.Done():
		return drivers.ExecResult{}, context.Cause(ctx)
	}
}

// Kill implements [drivers.Exec].
func (r *run) Kill(_ context.Context, why string) error {
	r.end(drivers.ExecKilled, why)
	return nil
}

var _ drivers.Exec = (*run)(nil)
