package local

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/execparent"
	"github.com/tenure-dev/tenure/drivers/internal/atomicfile"
	"github.com/tenure-dev/tenure/eventstore/faults"
)

// runtimeVar marks every process of a runtime. A request cannot change it: Release looks for it.
const runtimeVar = "TENURE_RUNTIME_ID"

const basePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// baseEnv is the environment of every command before the request's own.
func baseEnv(c Config, l layout) []drivers.EnvVar {
	return []drivers.EnvVar{
		{Name: "PATH", Value: strings.Join(append(c.Path, basePath), ":")},
		{Name: "HOME", Value: l.workspace},
		{Name: "TMPDIR", Value: l.tmp},
		{Name: "LANG", Value: "C.UTF-8"},
	}
}

// StartExec implements [drivers.Executor].
func (d *Driver) StartExec(ctx context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	if err := checkRuntimeID(req.RuntimeID); err != nil {
		return nil, &drivers.StartError{Stage: "runtime", Code: "bad_runtime_id", Err: err}
	}
	config, err := decodeConfig(req.Config)
	if err != nil {
		return nil, &drivers.StartError{Stage: "runtime", Code: "bad_config", Err: err}
	}
	l := d.layout(req.RuntimeID)
	base := append(baseEnv(config, l), drivers.EnvVar{Name: runtimeVar, Value: req.RuntimeID})
	if err := drivers.Refuse(drivers.ValidateExec(req, base...)); err != nil {
		return nil, err
	}
	if req.JournalDir == "" {
		return nil, &drivers.StartError{Stage: "journal", Code: "journal_missing", Err: errors.New("no journal directory is given")}
	}
	if err := d.beginStart(req.RuntimeID); err != nil {
		return nil, err
	}
	started, err := d.start(ctx, l, config, req)
	d.endStart(req.RuntimeID, started)
	if err != nil {
		return nil, err
	}
	return started, nil
}

func (d *Driver) start(ctx context.Context, l layout, config Config, req drivers.ExecRequest) (*execparent.Process, error) {
	if _, err := os.Lstat(l.marker); err != nil {
		code := "runtime_unreadable"
		if errors.Is(err, fs.ErrNotExist) {
			code, err = "runtime_gone", drivers.ErrGone
		}
		return nil, &drivers.StartError{Stage: "runtime", Code: code, Remediation: "acquire a new lease", Err: err}
	}
	cwd := req.Cwd
	if !filepath.IsAbs(cwd) {
		cwd = filepath.Join(l.workspace, cwd)
	}
	spec := execparent.Spec{
		Argv: req.Argv, Cwd: cwd, Stdin: req.Stdin, Credential: d.opts.credential(),
		Env:     append(append(baseEnv(config, l), req.Env...), drivers.EnvVar{Name: runtimeVar, Value: req.RuntimeID}),
		Timeout: req.Timeout, Grace: d.opts.Grace, Drain: d.opts.Drain, JournalDir: req.JournalDir,
	}
	if req.Grace > 0 {
		spec.Grace = req.Grace
	}
	var record string
	return execparent.Start(ctx, execparent.Options{
		Command: d.opts.ParentCommand,
		Spawned: func(parent drivers.Process) error {
			b, err := json.Marshal(parent)
			if err != nil {
				return err
			}
			faults.Point("local.exec.spawned")
			record = filepath.Join(l.parents, strconv.Itoa(parent.PID)+".json")
			return atomicfile.Write(record, b, 0o600)
		},
		Ended: func() {
			if record != "" {
				_ = os.Remove(record) // its pid and start time say that it is history
			}
		},
	}, spec)
}
