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
)

// Release implements [drivers.Driver]. It ends this process's commands in order, then kills and removes the container,
// whoever works in it, and its volumes.
func (d *Driver) Release(ctx context.Context, req drivers.ReleaseRequest) error {
	if err := checkRuntimeID(req.RuntimeID); err != nil {
		return err
	}
	cfg := lenientConfig(req.Config, d.opts)
	e, err := d.engineOf(cfg)
	if err != nil {
		return drivers.BadConfig(err)
	}
	done, err := d.hold(ctx, req.RuntimeID)
	if err != nil {
		return err
	}
	defer done()
	if len(d.active.Running(req.RuntimeID)) > 0 && req.Fence != 0 {
		asking, cancel := within(ctx, cfg.Timeout, "the look at the container")
		err := holdError(asking, "find_holder", e.checkHolder(asking, req))
		cancel()
		if err != nil {
			return err
		}
	}
	d.endCommands(ctx, req.RuntimeID)
	ctx, cancel := within(ctx, cfg.Timeout, "the removal of the container")
	defer cancel()
	if err := e.removeForGood(ctx, req.RuntimeID, req.Installation, req.Fence); err != nil {
		f := failed(ctx, "remove_container", err)
		if f.Code == drivers.CodeStaleFence {
			return f
		}
		f.Outcome = drivers.OutcomeRetryable // removing is always harmless to repeat
		return f
	}
	return nil
}

// checkHolder refuses a holder that a newer one came after, before any command is ended. It is done again with the removal.
func (e *engine) checkHolder(ctx context.Context, req drivers.ReleaseRequest) error {
	if err := e.connect(ctx); err != nil {
		return err
	}
	containers, err := e.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filterBy(req.RuntimeID, req.Installation)})
	if err != nil {
		return err
	}
	for _, c := range containers.Items {
		if m, ours := nameOf(c); ours {
			if err := yields(c, m, req.Fence); err != nil {
				return err
			}
		}
	}
	return nil
}

// endCommands gives the commands of this process the time to end in order. Those that do not end with the container.
func (d *Driver) endCommands(ctx context.Context, runtimeID string) {
	running := d.active.Running(runtimeID)
	if len(running) == 0 {
		return
	}
	ctx, cancel := within(ctx, d.opts.Grace+10*time.Second, "the end of the commands")
	defer cancel()
	for _, p := range running {
		_ = p.Kill(ctx, "lease_released")
	}
	for _, p := range running {
		_, _ = p.Wait(ctx)
	}
}

// removeForGood takes everything down that carries the runtime's label, a container that is still being made included. What
// is gone, or was never there, is no error. What a newer holder than this one has is left alone; 0 is no holder's.
func (e *engine) removeForGood(ctx context.Context, runtimeID, installation string, fence int64) error {
	if err := e.connect(ctx); err != nil {
		return err
	}
	for {
		found, err := e.removeContainers(ctx, runtimeID, installation, fence)
		if err != nil {
			return err
		}
		if found { // there can be no second one under its name
			break
		}
		making, err := e.isMaking(ctx, runtimeID, installation)
		if err != nil {
			return fmt.Errorf("see whether the container is being made: %w", err)
		}
		if !making {
			break
		}
	}
	return e.removeVolumes(ctx, runtimeID, installation) // last: one that is being made holds its volumes, or makes them yet
}

// remove takes down what is there by now.
func (e *engine) remove(ctx context.Context, runtimeID, installation string, fence int64) error {
	if err := e.connect(ctx); err != nil {
		return err
	}
	if _, err := e.removeContainers(ctx, runtimeID, installation, fence); err != nil {
		return err
	}
	return e.removeVolumes(ctx, runtimeID, installation)
}

func (e *engine) removeVolumes(ctx context.Context, runtimeID, installation string) error {
	volumes, err := e.VolumeList(ctx, client.VolumeListOptions{Filters: filterBy(runtimeID, installation)})
	if err != nil {
		return fmt.Errorf("list volumes: %w", err)
	}
	for _, v := range volumes.Items {
		_, err := e.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{})
		if err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove volume %s: %w", v.Name, err)
		}
	}
	return nil
}

// removeContainers reports whether there were any.
func (e *engine) removeContainers(ctx context.Context, runtimeID, installation string, fence int64) (found bool, err error) {
	for {
		one, err := e.removeListed(ctx, runtimeID, installation, fence)
		found = found || one
		if !errors.Is(err, errTaken) || ctx.Err() != nil {
			return found, err
		}
	}
}

// removeListed takes each container out of its holder's hand and removes it by the name that it has then, so that it never hits a
// newer one's: errTaken says that it has to look again.
func (e *engine) removeListed(ctx context.Context, runtimeID, installation string, fence int64) (found bool, err error) {
	containers, err := e.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filterBy(runtimeID, installation)})
	if err != nil {
		return false, fmt.Errorf("list containers: %w", err)
	}
	for _, c := range containers.Items {
		name := c.ID
		m, ours := nameOf(c)
		if ours {
			found = true
			if name, err = e.release(ctx, c, m, fence); err != nil {
				return found, err
			}
		}
		// The engine kills it and takes the anonymous volumes, which an image may declare, with it.
		_, err = e.ContainerRemove(ctx, name, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		if errdefs.IsConflict(err) { // somebody else is removing it
			err = e.awaitGone(ctx, c.ID)
		}
		if err != nil && !errdefs.IsNotFound(err) {
			return false, fmt.Errorf("remove container %s: %w", c.ID, err)
		}
		if err != nil && ours {
			return found, errTaken // renamed, or removed by somebody else
		}
		found = found || err == nil
	}
	return found, nil
}

// release takes a container from who has it, if that one yields: it gives it the name of one that is being removed, and returns the
// name to remove it by.
func (e *engine) release(ctx context.Context, c container.Summary, m mark, fence int64) (string, error) {
	if err := yields(c, m, fence); err != nil {
		return "", err
	}
	if m.released || removed(c) {
		return m.name, nil
	}
	name := releasedName(m.runtime, max(m.fence, fence))
	err := e.rename(ctx, m, name)
	if err != nil && !errors.Is(err, errTaken) && isAnswer(err) {
		return m.name, nil // the engine remembers another of this name, or whatever it has: it has to go all the same
	}
	return name, err
}

// yields checks whether who has a container gives way to a fence; 0 is nobody's, to which all do.
func yields(c container.Summary, m mark, fence int64) error {
	if fence == 0 || removed(c) {
		return nil
	}
	return m.hold().Yields(fence)
}

// removed reports whether the engine has begun to remove a container: then it is nobody's, whoever gave it its name.
func removed(c container.Summary) bool {
	return c.State == container.StateRemoving || c.State == container.StateDead
}

// awaitGone waits for a removal that is under way.
func (e *engine) awaitGone(ctx context.Context, containerID string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := e.ContainerInspect(ctx, containerID, client.ContainerInspectOptions{})
		if errdefs.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), errors.New("the engine is still removing the container"))
		}
	}
}
