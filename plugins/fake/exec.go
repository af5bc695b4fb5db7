package fake

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/journal"
)

// command is a program. It ends soon after ctx is done; its result is the exit code.
type command func(ctx context.Context, c invocation) int

// invocation is what a program gets.
type invocation struct {
	drivers.ExecRequest
	env []drivers.EnvVar
	out *journal.Writer
}

func (c invocation) print(s string) { c.out.Append(journal.Stdout, []byte(s)) }

// arg is the first argument, or what there is instead.
func (c invocation) arg(instead string) string {
	if len(c.Argv) > 1 {
		return c.Argv[1]
	}
	return instead
}

var commands = map[string]command{
	"echo": func(_ context.Context, c invocation) int {
		c.print(strings.Join(c.Argv[1:], " ") + "\n")
		return 0
	},
	"cat": func(_ context.Context, c invocation) int {
		c.print(string(c.Stdin))
		return 0
	},
	"env": func(_ context.Context, c invocation) int {
		for _, v := range c.env {
			c.print(v.Name + "=" + v.Value + "\n")
		}
		return 0
	},
	"pwd": func(_ context.Context, c invocation) int {
		c.print(c.Cwd + "\n")
		return 0
	},
	"true":  func(context.Context, invocation) int { return 0 },
	"false": func(context.Context, invocation) int { return 1 },
	"exit": func(_ context.Context, c invocation) int {
		code, err := strconv.ParseUint(c.arg("0"), 10, 8)
		if err != nil {
			c.out.Append(journal.Stderr, []byte("fake: exit: not a code: "+c.arg("")+"\n"))
			return 2
		}
		return int(code)
	},
	"sleep": func(ctx context.Context, c invocation) int {
		seconds, err := strconv.ParseFloat(c.arg("forever"), 64)
		if err != nil || seconds > 1e6 {
			<-ctx.Done()
			return 0
		}
		_ = wait(ctx, time.Duration(seconds*float64(time.Second))) // how it ended is in ctx
		return 0
	},
	"fill": func(ctx context.Context, c invocation) int {
		left, err := strconv.ParseInt(c.arg("0"), 10, 64)
		if err != nil || left < 0 {
			c.out.Append(journal.Stderr, []byte("fake: fill: not a number of bytes: "+c.arg("")+"\n"))
			return 2
		}
		chunk := slices.Repeat([]byte("x"), 1<<16)
		for ; left > 0 && ctx.Err() == nil; left -= int64(len(chunk)) {
			chunk = chunk[:min(left, int64(len(chunk)))]
			c.out.Append(journal.Stdout, chunk)
		}
		return 0
	},
}

func notFound(_ context.Context, c invocation) int {
	c.out.Append(journal.Stderr, []byte("fake: "+c.Argv[0]+": command not found\n"))
	return 127
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
	r, err := d.start(ctx, req)
	if err != nil {
		return nil, err
	}
	for _, p := range []Place{PlaceAfter, PlaceReply} {
		if err := startFailed(cl.at(ctx, p)); err != nil {
			r.end(drivers.ExecKilled, "canceled") // an error means that nothing runs
			<-r.done
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

func (d *Driver) start(ctx context.Context, req drivers.ExecRequest) (*run, error) {
	r := &run{world: d.world, done: make(chan struct{})}
	runCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	r.cancel = cancel
	if err := d.world.ledger.update(func(s *state) []Entry {
		// In one step: who takes the runtime down from here on finds the command.
		if found := d.find(s, req.RuntimeID, req.ProviderLeaseID); len(found) > 0 {
			d.world.enter(r, found[0].ID)
			return []Entry{{Op: OpExec, ID: r.id, RuntimeID: req.RuntimeID, ExecID: req.ExecID}}
		}
		return nil
	}); err != nil {
		return nil, drivers.NotStarted("runtime", "ledger_unusable", ledgerFailed(err))
	}
	if r.id == "" {
		return nil, &drivers.StartError{Stage: "runtime", Code: "runtime_gone", Remediation: "acquire a new lease", Err: drivers.ErrGone}
	}
	out, err := journal.Create(req.JournalDir, journal.Options{})
	if err != nil {
		d.world.leave(r)
		close(r.done)
		return nil, journal.Unusable(err)
	}
	program, ok := commands[req.Argv[0]]
	if !ok {
		program = notFound
	}
	in := invocation{ExecRequest: req, env: environment(req.Env), out: out}
	switch {
	case req.Cwd == "":
		in.Cwd = workspace
	case !strings.HasPrefix(req.Cwd, "/"):
		in.Cwd = workspace + "/" + req.Cwd
	}
	go r.run(runCtx, program, in)
	return r, nil
}

func (w *World) enter(r *run, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.id = id
	w.begun++
	// No process of this machine has such a pid, so nobody can take it for one.
	r.process = drivers.Process{PID: 1<<22 + w.begun, StartTime: uint64(w.begun), BootID: "fake"}
	w.runs[r] = struct{}{}
}

func (w *World) leave(r *run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.runs, r)
}

// endRuns ends every command in a runtime, or in all for "", and waits for it.
func (w *World) endRuns(id, why string) {
	w.mu.Lock()
	var running []*run
	for r := range w.runs {
		if id == "" || r.id == id {
			running = append(running, r)
		}
	}
	w.mu.Unlock()
	for _, r := range running {
		r.end(drivers.ExecKilled, why)
	}
	for _, r := range running {
		<-r.done
	}
}

// run is one command.
type run struct {
	world   *World
	id      string // of the runtime
	process drivers.Process
	cancel  context.CancelCauseFunc
	done    chan struct{}
	result  drivers.ExecResult // valid once done is closed
}

// ended is the cause of the context of a command that was ended.
type ended struct {
	how drivers.ExecEnd
	why string
}

func (e ended) Error() string { return string(e.how) + ": " + e.why }

func (r *run) run(ctx context.Context, program command, in invocation) {
	defer close(r.done)
	defer r.world.leave(r)
	defer r.cancel(nil)
	if in.Timeout > 0 {
		timer := time.AfterFunc(in.Timeout, func() { r.end(drivers.ExecTimedOut, "") })
		defer timer.Stop()
	}
	result := drivers.ExecResult{End: drivers.ExecExited, ExitCode: program(ctx, in)}
	if e, ok := errors.AsType[ended](context.Cause(ctx)); ok {
		result = drivers.ExecResult{End: e.how, Why: e.why}
	}
	var err error
	if result.Output, err = in.out.Seal(drivers.OutputComplete); err != nil {
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
