package fake

import (
	"context"
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake/program"
)

var commands = map[string]program.Func{
	"echo": program.Echo, "cat": program.Cat, "false": program.False,
	"env": func(_ context.Context, c program.Call) int {
		for _, v := range c.Env {
			c.Stdout(v.Name + "=" + v.Value + "\n")
		}
		return 0
	},
	"pwd": func(_ context.Context, c program.Call) int {
		c.Stdout(c.Cwd + "\n")
		return 0
	},
	"true": func(context.Context, program.Call) int { return 0 },
	"exit": func(_ context.Context, c program.Call) int {
		code, err := strconv.ParseUint(arg(c, "0"), 10, 8)
		if err != nil {
			c.Stderr("fake: exit: not a code: " + arg(c, "") + "\n")
			return 2
		}
		return int(code)
	},
	"sleep": func(ctx context.Context, c program.Call) int {
		seconds, err := strconv.ParseFloat(arg(c, "forever"), 64)
		if err != nil || seconds > 1e6 {
			<-ctx.Done()
			return 0
		}
		_ = wait(ctx, time.Duration(seconds*float64(time.Second))) // how it ended is in ctx
		return 0
	},
	"fill": func(ctx context.Context, c program.Call) int {
		left, err := strconv.ParseInt(arg(c, "0"), 10, 64)
		if err != nil || left < 0 {
			c.Stderr("fake: fill: not a number of bytes: " + arg(c, "") + "\n")
			return 2
		}
		chunk := slices.Repeat([]byte("x"), 1<<16)
		for ; left > 0 && ctx.Err() == nil; left -= int64(len(chunk)) {
			chunk = chunk[:min(left, int64(len(chunk)))]
			c.Stdout(string(chunk))
		}
		return 0
	},
}

// arg is the first argument, or what there is instead.
func arg(c program.Call, instead string) string {
	if len(c.Argv) > 1 {
		return c.Argv[1]
	}
	return instead
}

// workspace is the directory that commands believe to be in.
const workspace = "/workspace"

// environment is what a command sees: a base, and the request's variables, of which the later wins.
func environment(env []drivers.EnvVar) []drivers.EnvVar {
	all := []drivers.EnvVar{
		{Name: "PATH", Value: "/usr/bin:/bin"}, {Name: "HOME", Value: workspace}, {Name: "TMPDIR", Value: "/tmp"},
		{Name: "LANG", Value: "C.UTF-8"},
	}
	for _, v := range env {
		all = slices.DeleteFunc(all, func(have drivers.EnvVar) bool { return have.Name == v.Name })
		all = append(all, v)
	}
	return all
}

// StartExec implements [drivers.Executor].
func (d *Driver) StartExec(ctx context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	c, err := decodeConfig(req.Config)
	if err != nil {
		return nil, drivers.NotStarted("runtime", "bad_config", drivers.BadConfig(err))
	}
	if err := drivers.Refuse(drivers.ValidateExec(req)); err != nil {
		return nil, err
	}
	cl, err := d.world.begin(VerbExec, d.nameOf(req.Handle), c)
	if err != nil {
		return nil, drivers.NotStarted("process", "script_unreadable", err)
	}
	if err := startFailed(cl.at(ctx, PlaceBefore)); err != nil {
		return nil, err
	}
	r, err := d.start(req)
	if err != nil {
		return nil, err
	}
	for _, p := range []Place{PlaceAfter, PlaceReply} {
		if err := startFailed(cl.at(ctx, p)); err != nil {
			r.End(drivers.ExecKilled, "canceled") // an error means that nothing runs
			<-r.Done()
			return nil, err
		}
	}
	return r, nil
}

// startFailed makes a start that was given up an error of a start.
func startFailed(err error) error {
	if f, ok := errors.AsType[*drivers.Failure](err); ok {
		return &drivers.StartError{Stage: "process", Code: f.Code, Remediation: f.Remediation, Err: f.Err}
	}
	return err
}

func (d *Driver) start(req drivers.ExecRequest) (*program.Run, error) {
	var r *program.Run
	var refused error
	if err := d.world.ledger.update(func(s *state) []Entry {
		// In one step: who takes the runtime down from here on finds the command.
		if found := d.find(s, req.RuntimeID, req.ProviderLeaseID); len(found) > 0 {
			i := slices.IndexFunc(found, func(e Entry) bool { return req.ProviderLeaseID != nil && e.ID == *req.ProviderLeaseID })
			found = found[max(i, 0):]
			if refused = found[0].hold().Admit(req.Fence); refused != nil {
				return nil
			}
			r = d.world.enter(found[0].ID)
			return []Entry{{
				Op: OpExec, ID: found[0].ID, RuntimeID: req.RuntimeID, LeaseID: req.LeaseID, Fence: req.Fence, ExecID: req.ExecID,
			}}
		}
		return nil
	}); err != nil {
		return nil, drivers.NotStarted("runtime", "ledger_unusable", ledgerFailed(err))
	}
	if refused != nil {
		return nil, refused
	}
	if r == nil {
		return nil, &drivers.StartError{Stage: "runtime", Code: "runtime_gone", Remediation: "acquire a new lease", Err: drivers.ErrGone}
	}
	f, ok := commands[req.Argv[0]]
	if !ok {
		f = program.Missing
	}
	req.Env = environment(req.Env)
	if !strings.HasPrefix(req.Cwd, "/") {
		req.Cwd = path.Join(workspace, req.Cwd)
	}
	if err := r.Start(req, f, func() { d.world.leave(r) }); err != nil {
		return nil, err
	}
	return r, nil
}

// enter registers a command in the runtime of this name.
func (w *World) enter(id string) *program.Run {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begun++
	// No process of this machine has such a pid, so nobody can take it for one.
	r := program.New(drivers.Process{PID: 1<<22 + w.begun, StartTime: uint64(w.begun), BootID: "fake"})
	w.runs[r] = id
	return r
}

func (w *World) leave(r *program.Run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.runs, r)
}

// endRuns ends every command in a runtime, or in all for "", and waits for it.
func (w *World) endRuns(id, why string) {
	endAll(w.running(id), why)
}

// running are the commands in a runtime, or in all for "".
func (w *World) running(id string) (running []*program.Run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for r, of := range w.runs {
		if id == "" || of == id {
			running = append(running, r)
		}
	}
	return running
}

func endAll(running []*program.Run, why string) {
	for _, r := range running {
		r.End(drivers.ExecKilled, why)
	}
	for _, r := range running {
		<-r.Done()
	}
}
