package docker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/tenure-dev/tenure/drivers"
)

// engineOfMetadata is the id of the engine that had a container.
func engineOfMetadata(metadata []byte) string {
	var said struct {
		Engine string `json:"engineId"`
	}
	if len(metadata) == 0 || json.Unmarshal(metadata, &said) != nil {
		return ""
	}
	return said.Engine
}

// hold takes the turns that whoever changes the holder of a runtime needs in this process.
func (d *Driver) hold(ctx context.Context, runtimeID string) (done func(), err error) {
	idle := d.active.BeginRelease(runtimeID)
	leave, err := d.acquireTurn(ctx, runtimeID)
	if err != nil {
		d.active.EndRelease(runtimeID)
		return nil, err
	}
	done = func() {
		leave()
		d.active.EndRelease(runtimeID)
	}
	select {
	case <-idle:
		return done, nil
	case <-ctx.Done():
		done()
		return nil, context.Cause(ctx)
	}
}

// Keep implements [drivers.Keeper]. Process 1 of a container that is not stopped uses next to nothing.
func (d *Driver) Keep(ctx context.Context, req drivers.KeepRequest) error {
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
	limited, cancel := within(ctx, cfg.Timeout+d.opts.Grace, "the keeping of the container")
	defer cancel()
	err = e.again(limited, func() error {
		c, m, err := e.wanted(limited, req.RuntimeID, req.Installation, req.Metadata)
		if err != nil {
			return err
		}
		if err := m.hold().Yields(req.Fence); err != nil {
			return err
		}
		name := keptName(req.RuntimeID, req.Fence)
		if err := e.rename(limited, m, name); err != nil {
			return err
		}
		d.endCommands(limited, req.RuntimeID)
		return e.quiesce(limited, c, name, !req.Stop)
	})
	if _, ok := errors.AsType[*drivers.Failure](err); ok {
		return err // on another engine, nothing is known of it
	}
	return drivers.Lost(holdError(limited, "keep_container", err))
}

// Resume implements [drivers.Keeper].
func (d *Driver) Resume(ctx context.Context, req drivers.ResumeRequest) (drivers.Runtime, error) {
	if err := checkRuntimeID(req.RuntimeID); err != nil {
		return drivers.Runtime{}, err
	}
	cfg, err := decodeConfig(req.Config, d.opts)
	if err != nil {
		return drivers.Runtime{}, drivers.BadConfig(err)
	}
	e, err := d.engineOf(cfg)
	if err != nil {
		return drivers.Runtime{}, drivers.BadConfig(err)
	}
	done, err := d.hold(ctx, req.RuntimeID)
	if err != nil {
		return drivers.Runtime{}, err
	}
	defer done()
	ctx, cancel := within(ctx, cfg.Timeout+d.opts.Grace, "the resuming of the container")
	defer cancel()
	var rt drivers.Runtime
	err = e.again(ctx, func() error {
		c, m, err := e.wanted(ctx, req.RuntimeID, req.Installation, req.Metadata)
		if err != nil {
			return err
		}
		if err := m.hold().Yields(req.Fence); err != nil {
			return err
		}
		if c, err = d.takeBack(ctx, e, c, m, req); err != nil {
			return err
		}
		rt, err = e.told(ctx, c)
		rt.Resumed = true
		return err
	})
	if errors.Is(err, drivers.ErrGone) {
		err = cmp.Or(e.takeOff(ctx, req.RuntimeID, req.Fence), err)
	}
	if err != nil {
		return drivers.Runtime{}, holdError(ctx, "resume_container", err)
	}
	return rt, nil
}

// takeBack shuts out older holders first and lets this one in last: a crash in between leaves it to be resumed again.
func (d *Driver) takeBack(
	ctx context.Context, e *engine, c container.InspectResponse, m mark, req drivers.ResumeRequest,
) (container.InspectResponse, error) {
	if m.fence == req.Fence && !m.kept {
		if c.State.Status == container.StateRunning {
			return c, nil
		}
		return e.complete(ctx, c) // it was held over a restart of the engine
	}
	name := keptName(req.RuntimeID, req.Fence)
	if err := e.rename(ctx, m, name); err != nil {
		return c, err
	}
	d.endCommands(ctx, req.RuntimeID)
	if err := e.quiesce(ctx, c, name, true); err != nil {
		// A removal that was asked for before the rename goes on under any name.
		if found, now, there, lookErr := e.byID(ctx, c.ID, req.RuntimeID); lookErr == nil && (!there || leaves(found, now)) {
			return c, fmt.Errorf("container %s is being removed: %w", c.ID, drivers.ErrGone)
		}
		return c, err
	}
	next := markOf(req.AcquireRequest, time.Now())
	if err := e.takeOver(ctx, next); err != nil { // for lists: its labels are the first holder's
		return c, err
	}
	m.name = name
	if err := e.rename(ctx, m, heldName(req.RuntimeID, req.Fence)); err != nil {
		return c, err
	}
	c, _, found, err := e.byID(ctx, c.ID, req.RuntimeID)
	if err == nil && !found {
		err = errTaken
	}
	return c, err
}

// again repeats what found the container with another name than a moment before.
func (e *engine) again(ctx context.Context, do func() error) error {
	for {
		err := do()
		if !errors.Is(err, errTaken) || ctx.Err() != nil {
			return err
		}
	}
}

// holdError leaves alone what says something about the runtime, and makes a retryable failure of the rest.
func holdError(ctx context.Context, step string, err error) error {
	if err == nil || errors.Is(err, drivers.ErrGone) || errors.Is(err, drivers.ErrMismatch) {
		return err
	}
	f, said := errors.AsType[*drivers.Failure](err)
	if said && f.Code == drivers.CodeStaleFence {
		return err
	}
	made := *failed(ctx, step, err)
	if made.Code != "engine_forbidden" && made.Code != "another_engine" {
		made.Outcome = drivers.OutcomeRetryable // harmless to repeat
	}
	if errors.Is(made.Err, errTaken) {
		made.Err = fmt.Errorf("it goes from hand to hand: %w", made.Err)
	}
	return &made
}

var _ drivers.Keeper = (*Driver)(nil)
