package fake

import (
	"context"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake/program"
)

// Command is a program.
type Command = program.Func

// Call is what a program gets.
type Call = program.Call

var builtin = map[string]Command{
	"echo": program.Echo, "cat": program.Cat, "false": program.False,
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
	r, err := d.enter(req.RuntimeID)
	if err != nil {
		return nil, err
	}
	command, ok := d.opts.Commands[req.Argv[0]]
	if !ok {
		command, ok = builtin[req.Argv[0]]
	}
	if !ok {
		command = program.Missing
	}
	if err := r.Start(req, command, func() { d.leave(r) }); err != nil {
		return nil, err
	}
	return r, nil
}

// enter registers a command, so that Release finds it, in a runtime that must exist.
func (d *Driver) enter(runtimeID string) (*program.Run, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range d.live {
		if i.Request.RuntimeID != runtimeID {
			continue
		}
		d.nextPID++
		d.startTime += 10
		r := program.New(drivers.Process{PID: d.nextPID, StartTime: d.startTime, BootID: "fake"})
		d.execs[r] = runtimeID
		return r, nil
	}
	return nil, &drivers.StartError{Stage: "runtime", Code: "runtime_gone", Remediation: "acquire a new lease", Err: drivers.ErrGone}
}

func (d *Driver) leave(r *program.Run) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.execs, r)
}
