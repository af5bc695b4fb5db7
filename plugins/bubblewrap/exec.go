package bubblewrap

import (
	"context"
	"errors"
	"path"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/execparent"
	"github.com/tenure-dev/tenure/drivers/rundir"
	"github.com/tenure-dev/tenure/plugins/cgroup"
)

// baseEnv is the environment of every command before the request's own.
func baseEnv() []drivers.EnvVar {
	return []drivers.EnvVar{
		{Name: "PATH", Value: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		{Name: "HOME", Value: workspacePath},
		{Name: "TMPDIR", Value: tmpPath},
		{Name: "LANG", Value: "C.UTF-8"},
	}
}

// StartExec implements [drivers.Executor].
func (d *Driver) StartExec(ctx context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	if err := rundir.CheckID(req.RuntimeID); err != nil {
		return nil, &drivers.StartError{Stage: "runtime", Code: "bad_runtime_id", Remediation: "acquire a new lease", Err: err}
	}
	config, err := decodeConfig(req.Config)
	if err != nil {
		return nil, &drivers.StartError{
			Stage: "runtime", Code: "bad_config", Remediation: "correct the environment's configuration", Err: err,
		}
	}
	base := baseEnv()
	mark := drivers.EnvVar{Name: rundir.RuntimeVar, Value: req.RuntimeID}
	if err := drivers.Refuse(drivers.ValidateExec(req, append(base, mark)...)); err != nil {
		return nil, err
	}
	shown, err := d.checkPaths(config)
	if err != nil {
		return nil, &drivers.StartError{
			Stage: "sandbox", Code: "mount_refused", Remediation: "correct config.readOnlyPaths and acquire a new lease", Err: err,
		}
	}
	l := d.runtimes.Layout(req.RuntimeID)
	cwd := req.Cwd
	if !path.IsAbs(cwd) {
		cwd = path.Join(workspacePath, cwd)
	}
	spec := execparent.Spec{
		Argv: req.Argv, Cwd: cwd, Stdin: req.Stdin, Credential: d.opts.credential(),
		Env:     append(append(base, req.Env...), mark),
		Timeout: config.timeout(req.Timeout), Grace: d.opts.Grace, Drain: d.opts.Drain, JournalDir: req.JournalDir,
		Sandbox: &execparent.Sandbox{Argv: d.walls(config, shown, l)},
	}
	if req.Grace > 0 {
		spec.Grace = req.Grace
	}
	e := &running{}
	e.command, err = d.runtimes.Start(ctx, req.RuntimeID, req.Fence, spec, func(spec *execparent.Spec) error {
		if config.limits().None() {
			return nil
		}
		// It is there already, unless the machine was restarted.
		if err := d.makeGroup(req.RuntimeID, config); err != nil {
			return &drivers.StartError{Stage: "limits", Code: "limits_unavailable", Remediation: limitsRemediation, Err: err}
		}
		e.group = d.group(req.RuntimeID)
		if e.group.Full() {
			return &drivers.StartError{
				Stage: "limits", Code: "too_many_processes", Err: errors.New("the runtime has as many processes as it may have"),
				Remediation: "wait for other commands of this lease to end, or raise config.pids",
			}
		}
		spec.Sandbox.Join = e.group.Join()
		e.killsBefore, _ = e.group.OOMKills()
		return nil
	})
	if err != nil {
		return nil, explain(err)
	}
	return e, nil
}

// running is a command in a sandbox.
type running struct {
	command     *execparent.Process
	group       *cgroup.Group // nil without limits
	killsBefore int64

	once   sync.Once
	result drivers.ExecResult
}

// Process implements [drivers.Exec]: it is that of bwrap, which ends with the command's whole tree.
func (r *running) Process() drivers.Process { return r.command.Process() }

// Kill implements [drivers.Exec].
func (r *running) Kill(ctx context.Context, why string) error { return r.command.Kill(ctx, why) }

// OutOfMemory is why a command was killed by the kernel for want of memory within its runtime's limit.
const OutOfMemory = "out_of_memory"

// Wait implements [drivers.Exec]. A command that the memory limit ended says so, and so does a shell that passes such an end
// on as its exit code.
func (r *running) Wait(ctx context.Context) (drivers.ExecResult, error) {
	result, err := r.command.Wait(ctx)
	if err != nil {
		return result, err
	}
	r.once.Do(func() {
		r.result = result
		killed := result.End == drivers.ExecSignaled && result.Signal == "SIGKILL" ||
			result.End == drivers.ExecExited && result.ExitCode == 128+int(unix.SIGKILL)
		if !killed || r.group == nil {
			return
		}
		if kills, known := r.group.OOMKills(); known && kills > r.killsBefore {
			r.result.Why = OutOfMemory
		}
	})
	return r.result, nil
}

// explain says what to do about a sandbox that did not come up.
func explain(err error) error {
	f, ok := errors.AsType[*drivers.StartError](err)
	if !ok || f.Stage != "sandbox" || f.Code != "sandbox_failed" {
		return err
	}
	explained := *f
	explained.Code, explained.Remediation = diagnose(f.Err.Error())
	return &explained
}
