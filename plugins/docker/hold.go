package docker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/tenure-dev/tenure/drivers"
)

// Who has a container is in its name, since a rename is the one thing that an engine does to a container as one step with a
// look at it:
//
//	tenure-<runtime id>            held by the fence in its labels: the one that it was made for
//	tenure_<fence>h_<runtime id>   held by a later one
//	tenure_<fence>k_<runtime id>   kept: that holder gave it back, or is not done taking it
//	tenure_<fence>r_<runtime id>   released: it is being removed, and nobody takes it any more
//
// Whatever must not hit the container of a newer holder asks for it by the name that its own holder gave it: a rename, a kill, a
// removal and the making of an exec then find no container once a newer one came. A command is told to a parent that
// runs in the container already, after one more look at the name: so it was let in before the rename, and is ended by the kill
// after it, or it sees the new name. None of this can be reached from inside.
//
// The last name is there since a removal takes its time, and a rename that meets it does harm: the engine cannot remove a directory
// in which the rename writes, or it goes on listing a container that is gone (seen with 20.10).

func heldName(runtimeID string, fence int64) string {
	return "tenure_" + strconv.FormatInt(fence, 10) + "h_" + runtimeID
}

func keptName(runtimeID string, fence int64) string {
	return "tenure_" + strconv.FormatInt(fence, 10) + "k_" + runtimeID
}

func releasedName(runtimeID string, fence int64) string {
	return "tenure_" + strconv.FormatInt(fence, 10) + "r_" + runtimeID
}

// named reads what a container's name says of its holder; false for a name that is none of ours.
func (m mark) named(name string) (mark, bool) {
	m.name = strings.TrimPrefix(name, "/")
	if m.name == namesOf(m.runtime).container {
		return m, true
	}
	rest, ok := strings.CutPrefix(m.name, "tenure_")
	digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
	fence, err := strconv.ParseInt(rest[:digits], 10, 64)
	if !ok || err != nil {
		return m, false
	}
	m.fence = fence
	m.kept = m.name == keptName(m.runtime, fence)
	m.released = m.name == releasedName(m.runtime, fence)
	return m, m.kept || m.released || m.name == heldName(m.runtime, fence)
}

func (m mark) hold() drivers.Hold { return drivers.Hold{Fence: m.fence, Kept: m.kept || m.released} }

// errTaken says that a container has another name than it had: somebody took it over, or removed it.
var errTaken = errors.New("the container was taken over, or removed")

// rename changes who has a container, if that is still as m says.
func (e *engine) rename(ctx context.Context, m mark, name string) error {
	if m.name == name {
		return nil
	}
	_, err := e.ContainerRename(ctx, m.name, client.ContainerRenameOptions{NewName: name})
	if errdefs.IsNotFound(err) {
		return errTaken
	}
	return err
}

// quiesce ends everything in a container, by the name that it has, and lets it be stopped or run again.
func (e *engine) quiesce(ctx context.Context, c container.InspectResponse, name string, run bool) error {
	if c.State.Status == container.StatePaused {
		if _, err := e.ContainerUnpause(ctx, name, client.ContainerUnpauseOptions{}); err != nil && !errdefs.IsConflict(err) {
			return taken(err)
		}
	}
	_, err := e.ContainerKill(ctx, name, client.ContainerKillOptions{Signal: "SIGKILL"})
	if err != nil && !errdefs.IsConflict(err) { // conflict: it does not run
		return taken(err)
	}
	if err := e.awaitStopped(ctx, name); err != nil || !run {
		return taken(err)
	}
	_, err = e.ContainerStart(ctx, name, client.ContainerStartOptions{})
	return taken(err)
}

func taken(err error) error {
	if errdefs.IsNotFound(err) {
		return errTaken
	}
	return err
}

// awaitStopped waits for a kill that is under way.
func (e *engine) awaitStopped(ctx context.Context, name string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		found, err := e.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
		if err != nil || found.Container.State == nil || !found.Container.State.Running {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), errors.New("the engine is still ending the container"))
		}
	}
}

// wanted finds the very container that a lease had: the engine gives each an id of its own.
func (e *engine) wanted(ctx context.Context, runtimeID, installation string, metadata []byte) (container.InspectResponse, mark, error) {
	none := container.InspectResponse{}
	if err := e.connect(ctx); err != nil {
		return none, mark{}, err
	}
	c, m, found, err := e.find(ctx, runtimeID)
	switch {
	case errors.Is(err, errNotOur):
		return none, m, fmt.Errorf("%w: %w", drivers.ErrMismatch, err)
	case err != nil:
		return none, m, err
	case !found:
		return none, m, e.goneFrom(ctx, metadata)
	case m.installation != installation:
		return none, m, fmt.Errorf("%w: container %s is another installation's", drivers.ErrMismatch, c.ID)
	case c.ID != drivers.IdentityOf(metadata):
		return none, m, fmt.Errorf("%w: it is container %s", drivers.ErrMismatch, c.ID)
	case leaves(c, m):
		return none, m, fmt.Errorf("container %s is being removed: %w", c.ID, drivers.ErrGone)
	}
	return c, m, nil
}

// leaves reports whether a container is being removed, which nothing stops.
func leaves(c container.InspectResponse, m mark) bool {
	return m.released || c.State.Status == container.StateRemoving || c.State.Status == container.StateDead || c.State.Dead
}

// goneFrom is the error for a container that the engine does not have, if it is the engine that had it.
func (e *engine) goneFrom(ctx context.Context, metadata []byte) error {
	info, err := e.Info(ctx, client.InfoOptions{})
	if err != nil {
		return err
	}
	if was := engineOfMetadata(metadata); was != "" && was != info.Info.ID {
		return &drivers.Failure{
			Outcome: drivers.OutcomeDefinite, Code: "another_engine", Step: "check_identity",
			Err:         fmt.Errorf("%w: another engine answers at %s", drivers.ErrMismatch, e.cfg.Host),
			Remediation: "let the host in the configuration lead to the engine that has the container, or remove it there",
		}
	}
	return drivers.ErrGone
}
