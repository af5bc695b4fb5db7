package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/docker/inner"
)

// Acquire implements [drivers.Driver]. The pull of the image has a limit of its own; everything else together has the
// configuration's.
func (d *Driver) Acquire(ctx context.Context, req drivers.AcquireRequest) (drivers.Runtime, error) {
	if err := checkRuntimeID(req.RuntimeID); err != nil {
		return drivers.Runtime{}, err
	}
	cfg, err := decodeConfig(req.Config, d.opts)
	if err != nil {
		return drivers.Runtime{}, drivers.BadConfig(err)
	}
	done, err := d.acquireTurn(ctx, req.RuntimeID)
	if err != nil {
		return drivers.Runtime{}, err
	}
	defer done()
	e, err := d.engineOf(cfg)
	if err != nil {
		return drivers.Runtime{}, drivers.BadConfig(err)
	}
	m := markOf(req, time.Now())
	// A second round only if a Release, or the Acquire of another process, came between, or the engine is still at what that
	// one asked for, though it is dead.
	waiting, cancel := within(ctx, cfg.Timeout, "the making of the container")
	defer cancel()
	for round := 0; ; round++ {
		rt, found, err := e.resume(ctx, m)
		if f, ok := errors.AsType[*drivers.Failure](err); ok {
			f.NothingMade = f.NothingMade && round == 0
		}
		if err != nil || found {
			return rt, err
		}
		rt, err = e.make(ctx, m)
		if err == nil {
			return rt, nil
		}
		if !errors.Is(err, errNameTaken) {
			return drivers.Runtime{}, err
		}
		select {
		case <-time.After(settlePause):
		case <-waiting.Done():
			return drivers.Runtime{}, &drivers.Failure{
				Outcome: drivers.OutcomeRetryable, Code: "conflict", Step: "create_container",
				Err:         fmt.Errorf("containers of this runtime come and go, or one is still being made: %w", context.Cause(waiting)),
				Remediation: "see who else makes and removes containers of this name: docker events",
			}
		}
	}
}

// settlePause lies between two looks at a container that is being made.
const settlePause = 50 * time.Millisecond

// errNameTaken: there is a container of this name by now.
var errNameTaken = errors.New("the container exists")

// resume finds the container that an earlier Acquire of this runtime made, and completes it if that one did not.
func (e *engine) resume(ctx context.Context, m mark) (drivers.Runtime, bool, error) {
	none := drivers.Runtime{}
	ctx, cancel := within(ctx, e.cfg.Timeout, "finding the container")
	defer cancel()
	if err := e.connect(ctx); err != nil {
		return none, false, notAsked(err)
	}
	c, made, found, err := e.find(ctx, m.runtime)
	foreign := func(why string) error {
		return &drivers.Failure{
			Outcome: drivers.OutcomeAmbiguous, Code: "foreign_runtime", Step: "find_container", Err: fmt.Errorf("%s: container %s", why, c.ID),
			Remediation: "look at the container and remove it if nobody needs it: docker inspect " + c.ID,
		}
	}
	switch {
	case errors.Is(err, errNotOur):
		return none, false, foreign("a container of this name was not made by tenure")
	case err != nil:
		return none, false, notAsked(failed(ctx, "find_container", err))
	case !found:
		return none, false, nil
	case made.installation != m.installation:
		return none, false, foreign("a runtime of this id belongs to another installation")
	}
	holder, err := e.holder(ctx, made)
	if err != nil {
		return none, false, failed(ctx, "find_holder", err)
	}
	if holder.fence > m.fence || made.kept && made.fence == m.fence {
		return none, false, heldBy(holder, m)
	}
	if leaves(c, made) { // and whoever began to remove it may have died over that
		if err := e.remove(ctx, m.runtime, m.installation, m.fence); err != nil {
			return none, false, failed(ctx, "await_removal", err)
		}
		return none, false, nil
	}
	if holder.fence < m.fence {
		err := e.takeOver(ctx, m)
		if err == nil {
			err = e.rename(ctx, made, heldName(m.runtime, m.fence))
		}
		if errors.Is(err, errTaken) {
			return none, false, nil
		}
		if err != nil {
			return none, false, failed(ctx, "record_holder", err)
		}
	}
	if c, err = e.complete(ctx, c); err != nil {
		return none, false, err
	}
	rt, err := e.told(ctx, c)
	if err != nil {
		return none, false, err
	}
	rt.Resumed = true
	return rt, true, nil
}

// heldBy refuses a holder that a newer one came after.
func heldBy(newer, m mark) *drivers.Failure {
	return &drivers.Failure{
		Outcome: drivers.OutcomeAmbiguous, Code: "stale_fence", Step: "find_holder",
		Err:         fmt.Errorf("the runtime is or was held with fence %d, and this is %d", newer.fence, m.fence),
		Remediation: "nothing: the runtime belongs to a newer holder of the lease",
	}
}

// complete makes a container that was found run.
func (e *engine) complete(ctx context.Context, c container.InspectResponse) (container.InspectResponse, error) {
	switch c.State.Status {
	case container.StateRunning:
		return c, nil
	case container.StateCreated:
		// Whoever made it did not get further, and cannot: this process has the turn, and another one's lease is over.
		if err := e.fill(ctx, c); err != nil {
			return c, err
		}
	case container.StatePaused:
		if _, err := e.ContainerUnpause(ctx, c.ID, client.ContainerUnpauseOptions{}); err != nil {
			return c, failed(ctx, "unpause_container", err)
		}
	case container.StateExited, container.StateRestarting:
		// It ran: the machine or the engine was started anew. Its volumes are as they were.
	case container.StateRemoving, container.StateDead: // see leaves
	}
	return e.start(ctx, c.ID)
}

// make creates the container and completes it. What it made is removed before it fails.
func (e *engine) make(ctx context.Context, m mark) (drivers.Runtime, error) {
	if err := e.refuse(ctx); err != nil {
		return drivers.Runtime{}, err
	}
	if err := e.ensureImage(ctx); err != nil {
		return drivers.Runtime{}, err
	}
	limited, cancel := within(ctx, e.cfg.Timeout, "making the container")
	defer cancel()
	id, inside, err := e.create(limited, m)
	if errors.Is(err, errNameTaken) {
		return drivers.Runtime{}, err
	}
	if err != nil {
		return drivers.Runtime{}, e.undo(ctx, m, "", failed(limited, "create_container", err))
	}
	if another, err := e.another(limited, m.runtime, id); err != nil || another {
		return drivers.Runtime{}, e.withdraw(ctx, m, id, err)
	}
	c, err := e.finish(limited, id, inside)
	if err != nil {
		return drivers.Runtime{}, e.undo(ctx, m, id, failed(limited, "start_container", err))
	}
	rt, err := e.told(limited, c)
	if err != nil {
		return drivers.Runtime{}, e.undo(ctx, m, id, failed(limited, "ask_identity", err))
	}
	return rt, nil
}

// another reports whether the runtime has a container beside this new one: its first name is free once a later holder has
// renamed it.
func (e *engine) another(ctx context.Context, runtimeID, id string) (bool, error) {
	listed, err := e.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filterBy(runtimeID, "")})
	if err != nil {
		return false, failed(ctx, "list_containers", err)
	}
	for _, c := range listed.Items {
		if _, ours := nameOf(c); ours && c.ID != id {
			return true, nil
		}
	}
	return false, nil
}

// withdraw takes back a container that should not be, and leaves its volumes, which the other one has, alone.
func (e *engine) withdraw(ctx context.Context, m mark, id string, asked error) error {
	ctx, cancel := forCleanup(ctx)
	defer cancel()
	_, err := e.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true})
	if err != nil && !errdefs.IsNotFound(err) {
		return failed(ctx, "remove_container", errors.Join(asked, err))
	}
	if asked != nil {
		return e.undo(ctx, m, "", failed(ctx, "list_containers", asked))
	}
	return errNameTaken
}

// refuse says what the engine cannot do of the configuration. It would say nothing, or warn, and leave that out.
func (e *engine) refuse(ctx context.Context) error {
	const step = "ask_abilities"
	ctx, cancel := within(ctx, e.cfg.Timeout, "the engine's answer")
	defer cancel()
	if e.cfg.Network == NetworkBridge {
		_, err := e.NetworkInspect(ctx, string(NetworkBridge), client.NetworkInspectOptions{})
		if errdefs.IsNotFound(err) {
			return &drivers.Failure{
				Outcome: drivers.OutcomeDefinite, Code: "network_unavailable", Step: step,
				Err:         errors.New("the engine has no network bridge"),
				Remediation: "let the engine have its default bridge (docker network inspect bridge), or set config.network to none",
			}
		}
		if err != nil {
			return failed(ctx, step, err)
		}
	}
	if e.cfg.MemoryMB == 0 && e.cfg.CPUs == 0 && e.cfg.PIDs == 0 {
		return nil
	}
	info, err := e.Info(ctx, client.InfoOptions{})
	if err != nil {
		return failed(ctx, step, err)
	}
	if err := e.checkLimits(info); err != nil {
		return &drivers.Failure{
			Outcome: drivers.OutcomeDefinite, Code: "limit_unsupported", Step: step, Err: err, Remediation: limitsRemedy,
		}
	}
	return nil
}

// create returns the new container and how it gets the program.
func (e *engine) create(ctx context.Context, m mark) (string, how, error) {
	inside := e.firstTry()
	made, err := e.ContainerCreate(ctx, e.createOptions(m, inside))
	if inside == mounted && err != nil && cannotMount(err) {
		e.log.Info("the engine does not see this machine's files: the program is copied", "runtime", m.runtime)
		inside = copied
		made, err = e.ContainerCreate(ctx, e.createOptions(m, inside))
	}
	if errdefs.IsConflict(err) {
		return "", inside, errNameTaken
	}
	if err != nil {
		if errdefs.IsNotFound(err) { // the image went away again, or a parent of it
			err = imageUnavailable("create_container", drivers.OutcomeRetryable, err)
		}
		return "", inside, err
	}
	for _, w := range made.Warnings {
		e.log.Warn("the engine warns of a container", "runtime", m.runtime, "container", made.ID, "warning", w)
	}
	return made.ID, inside, nil
}

// finish fills and starts a container of this call.
func (e *engine) finish(ctx context.Context, id string, inside how) (container.InspectResponse, error) {
	found, err := e.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return container.InspectResponse{}, failed(ctx, "inspect_container", err)
	}
	if inside == copied != isCopied(found.Container) {
		return container.InspectResponse{}, errors.New("the container does not have the mounts that it was made with")
	}
	if err := e.fill(ctx, found.Container); err != nil {
		return container.InspectResponse{}, err
	}
	return e.start(ctx, id)
}

// isCopied reports whether a container has the program in a volume.
func isCopied(c container.InspectResponse) bool {
	for _, m := range c.Mounts {
		if m.Destination == inner.Dir {
			return true
		}
	}
	return false
}

// fill puts into a container what it needs before it runs. It may be repeated.
func (e *engine) fill(ctx context.Context, c container.InspectResponse) error {
	if isCopied(c) {
		if err := e.copyInner(ctx, c.ID); err != nil {
			return failed(ctx, "copy_program", err)
		}
	}
	err := e.giveWorkspace(ctx, c)
	if errors.Is(err, errNoUser) {
		return &drivers.Failure{
			Outcome: drivers.OutcomeDefinite, Code: "user_not_found", Step: "make_workspace", Err: err, Remediation: userRemedy,
		}
	}
	if err != nil {
		return failed(ctx, "make_workspace", err)
	}
	return nil
}

// start runs process 1 and sees that it stays.
func (e *engine) start(ctx context.Context, id string) (container.InspectResponse, error) {
	const step = "start_container"
	if _, err := e.ContainerStart(ctx, id, client.ContainerStartOptions{}); err != nil {
		f := failed(ctx, step, err)
		if f.Code == "engine_error" && isAnswer(err) {
			f.Code, f.Remediation = "start_failed", "see whether a container of this image and these limits can be started: docker run"
		}
		return container.InspectResponse{}, f
	}
	found, err := e.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return container.InspectResponse{}, failed(ctx, "inspect_container", err)
	}
	c := found.Container
	if c.State == nil || c.State.Status != container.StateRunning {
		return c, &drivers.Failure{
			Outcome: drivers.OutcomeRetryable, Code: "start_failed", Step: step, Err: fmt.Errorf("process 1 ended at once: %s", stateWords(c)),
			Remediation: "give the container more memory if it was killed for that, and see that the image is of the engine's architecture",
		}
	}
	return c, nil
}

func stateWords(c container.InspectResponse) string {
	if c.State == nil {
		return "no state"
	}
	s := fmt.Sprintf("%s, exit code %d", c.State.Status, c.State.ExitCode)
	if c.State.OOMKilled {
		s += ", out of memory"
	}
	if c.State.Error != "" {
		s += ", " + c.State.Error
	}
	return s
}

// undo removes what a failed Acquire made, unless a newer holder has it by now; id is "" if the engine did not say that it
// made anything. What cannot be removed may exist, and the failure says so.
func (e *engine) undo(ctx context.Context, m mark, id string, f *drivers.Failure) error {
	ctx, cancel := forCleanup(ctx)
	defer cancel()
	holder, err := e.holder(ctx, m)
	if err == nil && holder.fence > m.fence {
		return heldBy(holder, m)
	}
	if err == nil {
		remove := e.remove
		if id == "" && !isAnswer(f.Err) {
			remove = e.removeForGood
		}
		err = remove(ctx, m.runtime, m.installation, m.fence)
	}
	if err == nil {
		return f
	}
	if id == "" {
		// Nobody knows whether there is anything. The same token finds it, and so does a list.
		f.Err = fmt.Errorf("%w; and the engine could not be asked whether something was made: %w", f.Err, err)
		if f.Outcome == drivers.OutcomeDefinite {
			f.Outcome = drivers.OutcomeAmbiguous
		}
		return f
	}
	return &drivers.Failure{
		Outcome: drivers.OutcomeAmbiguous, Code: f.Code, Step: f.Step,
		Err:         fmt.Errorf("%w; and container %s could not be removed: %w", f.Err, id, err),
		Remediation: "the container is removed when the lease is released; by hand: docker rm -f -v " + id,
	}
}
