package local

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/execparent"
	"github.com/tenure-dev/tenure/drivers/rundir"
)

const basePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// baseEnv is the environment of every command before the request's own.
func (d *Driver) baseEnv(c Config, l rundir.Layout) []drivers.EnvVar {
	base := []drivers.EnvVar{
		{Name: "PATH", Value: strings.Join(append(c.Path, basePath), ":")},
		{Name: "HOME", Value: l.Workspace},
		{Name: "TMPDIR", Value: l.Tmp},
		{Name: "LANG", Value: "C.UTF-8"},
	}
	if d.opts.APIURL != "" {
		base = append(base, drivers.EnvVar{Name: "PAPERCLIP_API_URL", Value: d.opts.APIURL})
	}
	return base
}

// StartExec implements [drivers.Executor].
func (d *Driver) StartExec(ctx context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	if err := rundir.CheckID(req.RuntimeID); err != nil {
		return nil, drivers.NotStarted("runtime", "bad_runtime_id", err)
	}
	config, err := decodeConfig(req.Config)
	if err != nil {
		return nil, drivers.NotStarted("runtime", "bad_config", drivers.BadConfig(err))
	}
	l := d.runtimes.Layout(req.RuntimeID)
	base := d.baseEnv(config, l)
	mark := drivers.EnvVar{Name: rundir.RuntimeVar, Value: req.RuntimeID}
	if err := drivers.Refuse(drivers.ValidateExec(req, append(base, mark)...)); err != nil {
		return nil, err
	}
	cwd := req.Cwd
	if !filepath.IsAbs(cwd) {
		cwd = filepath.Join(l.Workspace, cwd)
	}
	spec := execparent.Spec{
		Argv: req.Argv, Cwd: cwd, Stdin: req.Stdin, Credential: d.opts.credential(),
		Env:     append(append(base, req.Env...), mark),
		Timeout: req.Timeout, Grace: d.opts.Grace, Drain: d.opts.Drain, JournalDir: req.JournalDir,
	}
	if req.Grace > 0 {
		spec.Grace = req.Grace
	}
	started, err := d.runtimes.Start(ctx, req.RuntimeID, req.Fence, spec, nil)
	if err != nil {
		return nil, err
	}
	return started, nil
}
