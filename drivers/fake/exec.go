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
	r, err := d.enter(req.Handle)
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

// enter registers a command, so that Release and Keep find it, in a runtime that must exist and be held with its fence.
func (d *Driver) enter(h drivers.Handle) (*program.Run, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var found *Instance
	for _, i := range d.live {
		if i.Request.RuntimeID == h.RuntimeID && (found == nil || h.ProviderLeaseID != nil && i.ProviderLeaseID == *h.ProviderLeaseID) {
			found = &i
		}
	}
	if found == nil {
		return nil, &drivers.StartError{Stage: "runtime", Code: "runtime_gone", Remediation: "acquire a new lease", Err: drivers.ErrGone}
	}
	if err := found.Hold.Admit(h.Fence); err != nil {
		return nil, err
	}
	d.nextPID++
	d.startTime += 10
	r := program.New(drivers.Process{PID: d.nextPID, StartTime: d.startTime, BootID: "fake"})
	d.execs[r] = h.RuntimeID
	return r, nil
}

func (d *Driver) leave(r *program.Run) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.execs, r)
}
