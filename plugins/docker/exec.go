package docker

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/execparent"
	"github.com/tenure-dev/tenure/plugins/docker/inner"
)

// StartExec implements [drivers.Executor].
func (d *Driver) StartExec(ctx context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	if err := checkRuntimeID(req.RuntimeID); err != nil {
		return nil, drivers.NotStarted("runtime", "bad_runtime_id", err)
	}
	cfg := lenientConfig(req.Config, d.opts)
	// PATH is not known yet; what the image says instead is about as long.
	if err := drivers.Refuse(drivers.ValidateExec(req, baseEnv(pathOf(container.InspectResponse{Config: &container.Config{}}))...)); err != nil {
		return nil, err
	}
	if req.JournalDir == "" {
		return nil, drivers.NotStarted("journal", "journal_missing", errors.New("no journal directory is given"))
	}
	e, err := d.engineOf(cfg)
	if err != nil {
		return nil, drivers.NotStarted("runtime", "bad_config", drivers.BadConfig(err))
	}
	if err := d.active.BeginStart(req.RuntimeID); err != nil {
		return nil, err
	}
	ctx, cancel := within(ctx, cfg.Timeout, "the start of the command")
	defer cancel()
	started, err := d.start(ctx, e, req)
	d.active.EndStart(req.RuntimeID, started)
	if err != nil {
		return nil, startError(ctx, err)
	}
	return started, nil
}

// baseEnv is the environment of every command before the request's own. Of the image's variables only PATH is in it.
func baseEnv(path string) []drivers.EnvVar {
	return []drivers.EnvVar{
		{Name: "PATH", Value: path}, {Name: "HOME", Value: workspace}, {Name: "TMPDIR", Value: tmp}, {Name: "LANG", Value: "C.UTF-8"},
	}
}

func (d *Driver) start(ctx context.Context, e *engine, req drivers.ExecRequest) (*execparent.Linked, error) {
	c, m, err := e.running(ctx, req)
	if err != nil {
		return nil, err
	}
	cwd := req.Cwd
	if !path.IsAbs(cwd) {
		cwd = path.Join(workspace, cwd)
	}
	spec := execparent.Spec{
		Argv: req.Argv, Env: append(baseEnv(pathOf(c)), req.Env...), Cwd: cwd, Stdin: req.Stdin,
		Timeout: req.Timeout, Grace: d.opts.Grace, Drain: d.opts.Drain, JournalDir: req.JournalDir,
	}
	if req.Grace > 0 {
		spec.Grace = req.Grace
	}
	x := &innerExec{engine: e, containerID: c.ID, name: m.name, fence: req.Fence}
	return execparent.StartLinked(ctx, execparent.LinkOptions{Dial: x.dial, Silence: d.opts.Silence, Locate: x.locate, Lost: x.lost}, spec)
}

// running returns the runtime's container if commands can be run in it.
func (e *engine) running(ctx context.Context, req drivers.ExecRequest) (container.InspectResponse, mark, error) {
	if err := e.connect(ctx); err != nil {
		return container.InspectResponse{}, mark{}, err
	}
	var c container.InspectResponse
	var m mark
	var found bool
	var err error
	if req.ProviderLeaseID != nil {
		c, m, found, err = e.byID(ctx, *req.ProviderLeaseID, req.RuntimeID) // it goes by any name
	}
	if !found && err == nil {
		c, m, found, err = e.find(ctx, req.RuntimeID)
	}
	refused := func(code string, err error) error {
		return &drivers.StartError{Stage: "runtime", Code: code, Remediation: "acquire a new lease", Err: err}
	}
	switch {
	case errors.Is(err, errNotOur):
		return c, m, refused("foreign_runtime", err)
	case err != nil:
		return c, m, err
	case !found:
		return c, m, refused("runtime_gone", drivers.ErrGone)
	case req.Installation != "" && m.installation != req.Installation:
		return c, m, refused("foreign_runtime", errors.New("the runtime belongs to another installation"))
	}
	if err := m.hold().Admit(req.Fence); err != nil {
		return c, m, err
	}
	if c.State.Status != container.StateRunning {
		return c, m, refused("runtime_stopped", fmt.Errorf("the container does not run: %s", stateWords(c)))
	}
	return c, m, nil
}

// startError makes of whatever went wrong an error with a stage.
func startError(ctx context.Context, err error) error {
	if s, ok := errors.AsType[*drivers.StartError](err); ok {
		return s
	}
	f := failed(ctx, "start_exec", err)
	if f.Code == "canceled" {
		return f.Err
	}
	if isAnswer(err) {
		f.Remediation = "see whether the container runs and has processes and memory left: docker inspect"
	}
	return &drivers.StartError{Stage: "runtime", Code: f.Code, Remediation: f.Remediation, Err: f.Err}
}

// innerExec is the engine's exec that runs the parent of one command.
type innerExec struct {
	engine      *engine
	containerID string
	execID      string
	// name is that of the container as long as its holder, of this fence or an older one, has it.
	name  string
	fence int64
}

// dial starts the parent and returns the link to it. Nothing about the command is in the exec: the parent reads it.
func (x *innerExec) dial(ctx context.Context) (execparent.Link, error) {
	made, err := x.engine.ExecCreate(ctx, x.name, client.ExecCreateOptions{
		AttachStdin: true, AttachStdout: true, AttachStderr: true, Cmd: []string{inner.Path, inner.Command, inner.Exec},
	})
	if errdefs.IsNotFound(err) {
		return nil, x.whyNot(ctx)
	}
	if err != nil {
		return nil, err
	}
	x.execID = made.ID
	l, err := x.engine.attach(ctx, made.ID)
	if err != nil {
		return nil, err
	}
	parent, err := execparent.AwaitParent(ctx, l)
	if err != nil {
		return nil, err
	}
	// From here on the parent is ended with the container, so that this look is the last that is needed.
	now, err := x.engine.ContainerInspect(ctx, x.name, client.ContainerInspectOptions{})
	switch {
	case errdefs.IsNotFound(err), err == nil && now.Container.ID != x.containerID:
		err = x.whyNot(ctx)
	case err == nil:
		return parent, nil
	}
	_ = parent.Close() // it was told nothing, and ends
	return nil, err
}

// whyNot is the error of a command whose container has not its name any more.
func (x *innerExec) whyNot(ctx context.Context) error {
	gone := &drivers.StartError{Stage: "runtime", Code: "runtime_gone", Remediation: "acquire a new lease", Err: drivers.ErrGone}
	found, err := x.engine.ContainerInspect(ctx, x.containerID, client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) || err == nil && found.Container.Config == nil {
		return gone
	}
	if err != nil {
		return err
	}
	m, _ := readMark(found.Container.Config.Labels)
	m, _ = m.named(found.Container.Name)
	if err := m.hold().Admit(x.fence); err != nil {
		return err
	}
	return &drivers.StartError{
		Stage: drivers.StageFence, Code: drivers.CodeStaleFence, Err: errTaken, Remediation: "start it again, under a new id",
	}
}

// lost says why the link ended before the command, as far as the engine knows.
func (x *innerExec) lost(error) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	found, err := x.engine.ContainerInspect(ctx, x.containerID, client.ContainerInspectOptions{})
	switch {
	case errdefs.IsNotFound(err):
		return "container_gone"
	case err != nil:
		return "link_lost"
	case found.Container.State != nil && !found.Container.State.Running:
		if found.Container.State.OOMKilled {
			return "out_of_memory"
		}
		return "container_stopped"
	}
	exec, err := x.engine.ExecInspect(ctx, x.execID, client.ExecInspectOptions{})
	if err == nil && !exec.Running {
		return "parent_gone"
	}
	return "link_lost"
}
