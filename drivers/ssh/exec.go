package ssh

import (
	"context"
	"errors"
	"path"
	"slices"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/journal"
)

// The variables that mark every process of a runtime and of a command. A request cannot change them: they are looked for
// when the command or the runtime ends.
const (
	runtimeVar = "TENURE_RUNTIME_ID"
	execVar    = "TENURE_EXEC_ID"
)

const basePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is what a command gets: the base, the request's own over it, and the marks.
func environment(c config, m metadata, req drivers.ExecRequest) []drivers.EnvVar {
	all := []drivers.EnvVar{
		{Name: "PATH", Value: basePath}, {Name: "HOME", Value: c.remoteCwd(req.RuntimeID)},
		{Name: "TMPDIR", Value: c.tmp(req.RuntimeID)}, {Name: "LANG", Value: "C.UTF-8"},
	}
	if m.URL != nil {
		all = append(all, drivers.EnvVar{Name: "PAPERCLIP_API_URL", Value: *m.URL})
	}
	all = append(append(all, req.Env...), drivers.EnvVar{Name: runtimeVar, Value: req.RuntimeID}, drivers.EnvVar{Name: execVar, Value: req.ExecID})
	last := make(map[string]int, len(all))
	for i, v := range all {
		last[v.Name] = i
	}
	unique := all[:0:0]
	for i, v := range all {
		if last[v.Name] == i {
			unique = append(unique, v)
		}
	}
	return unique
}

// StartExec implements [drivers.Executor].
func (d *Driver) StartExec(ctx context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	if err := checkRuntimeID(req.RuntimeID); err != nil {
		return nil, drivers.NotStarted("runtime", "bad_runtime_id", err)
	}
	if len(req.ExecID) > 200 || !plainName.MatchString(req.ExecID) {
		return nil, &drivers.StartError{
			Stage: "process", Code: "bad_exec_id", Err: errors.New("the command's id is not a plain word"),
			Remediation: "use an id of 1 to 200 letters, digits, '.', '_' and '-' that begins with a letter or digit",
		}
	}
	c, err := configOf(req.Config)
	if err != nil {
		return nil, drivers.NotStarted("runtime", "bad_config", err)
	}
	pins, m := pinsOf(req.Metadata)
	env := environment(c, m, req)
	if err := drivers.Refuse(drivers.ValidateExec(drivers.ExecRequest{Argv: req.Argv, Cwd: req.Cwd, Env: req.Env}, env...)); err != nil {
		return nil, err
	}
	if req.JournalDir == "" {
		return nil, drivers.NotStarted("journal", "journal_missing", errors.New("no journal directory is given"))
	}
	if err := d.active.BeginStart(req.RuntimeID); err != nil {
		return nil, err
	}
	started, err := d.start(ctx, c, pins, env, req)
	d.active.EndStart(req.RuntimeID, started)
	if err != nil {
		return nil, err
	}
	return started, nil
}

func (d *Driver) start(ctx context.Context, c config, pins []string, env []drivers.EnvVar, req drivers.ExecRequest) (*process, error) {
	if !path.IsAbs(req.Cwd) {
		req.Cwd = path.Join(c.remoteCwd(req.RuntimeID), req.Cwd)
	}
	if req.Grace <= 0 {
		req.Grace = d.opts.Grace
	}
	w, err := journal.Create(req.JournalDir, journal.Options{})
	if err != nil {
		return nil, journal.Unusable(err)
	}
	lock := c.lock(req.RuntimeID)
	if slices.Contains(d.opts.hide, "flock") {
		lock = ""
	}
	s := &process{
		pool: d.pool(c), pins: pins, complaints: capped{left: keptNoise}, chatter: capped{left: keptNoise}, spec: spec{req: req, env: env, marker: c.marker(req.RuntimeID), lock: lock, drain: d.opts.Drain},
		journal: w, done: make(chan struct{}), brought: make(chan struct{}),
	}
	if err := s.begin(ctx); err != nil {
		_, _ = w.Seal(drivers.OutputComplete) // so that nobody follows it; it may be sealed already
		return nil, err
	}
	return s, nil
}
