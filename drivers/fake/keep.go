package fake

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake/program"
)

// Keep implements [drivers.Keeper].
func (d *Driver) Keep(ctx context.Context, req drivers.KeepRequest) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if before := d.opts.Hooks.BeforeKeep; before != nil {
		if err := before(ctx, req); err != nil {
			return err
		}
	}
	if err := d.keep(req); err != nil {
		return err
	}
	if after := d.opts.Hooks.AfterKeep; after != nil {
		return after(ctx, req)
	}
	return nil
}

func (d *Driver) keep(req drivers.KeepRequest) error {
	d.mu.Lock()
	i, err := d.kept(req.RuntimeID, req.Metadata)
	if err == nil {
		err = i.Hold.Yields(req.Fence)
	}
	if err != nil {
		d.mu.Unlock()
		return drivers.Lost(err)
	}
	i.Hold, i.Stopped = drivers.Hold{Fence: req.Fence, Kept: true}, req.Stop
	d.live[i.Serial] = i
	running := d.running(req.RuntimeID)
	d.mu.Unlock()
	end(running)
	return nil
}

// Resume implements [drivers.Keeper].
func (d *Driver) Resume(ctx context.Context, req drivers.ResumeRequest) (drivers.Runtime, error) {
	if err := context.Cause(ctx); err != nil {
		return drivers.Runtime{}, err
	}
	if before := d.opts.Hooks.BeforeResume; before != nil {
		if err := before(ctx, req); err != nil {
			return drivers.Runtime{}, err
		}
	}
	rt, err := d.resume(req)
	if err != nil {
		return drivers.Runtime{}, err
	}
	if after := d.opts.Hooks.AfterResume; after != nil {
		if err := after(ctx, req); err != nil {
			return drivers.Runtime{}, err
		}
	}
	return rt, nil
}

func (d *Driver) resume(req drivers.ResumeRequest) (drivers.Runtime, error) {
	d.mu.Lock()
	i, err := d.kept(req.RuntimeID, req.Metadata)
	if err == nil {
		err = i.Hold.Yields(req.Fence)
	}
	if err != nil {
		d.mu.Unlock()
		return drivers.Runtime{}, err
	}
	var older []*program.Run
	if i.Hold.Kept || i.Hold.Fence < req.Fence {
		older = d.running(req.RuntimeID)
	}
	i.Hold, i.Stopped, i.Request = drivers.Hold{Fence: req.Fence}, false, req.AcquireRequest
	d.live[i.Serial] = i
	d.mu.Unlock()
	end(older)
	return i.runtime(true), nil
}

// kept finds the instance that metadata was said of. The lock is held.
func (d *Driver) kept(runtimeID string, metadata json.RawMessage) (Instance, error) {
	var said struct{ Serial int }
	if len(metadata) > 0 {
		_ = json.Unmarshal(metadata, &said) // serial 0 is nobody's
	}
	if i, ok := d.live[said.Serial]; ok && i.Request.RuntimeID == runtimeID {
		return i, nil
	}
	for _, i := range d.live {
		if i.Request.RuntimeID == runtimeID && d.opts.Class == drivers.ClassIdempotent {
			return Instance{}, fmt.Errorf("%w: it is %s", drivers.ErrMismatch, i.ProviderLeaseID)
		}
	}
	return Instance{}, drivers.ErrGone
}

// running are the commands in a runtime. The lock is held.
func (d *Driver) running(runtimeID string) []*program.Run {
	var running []*program.Run
	for r, of := range d.execs {
		if of == runtimeID {
			running = append(running, r)
		}
	}
	return running
}

func end(running []*program.Run) {
	for _, r := range running {
		r.End(drivers.ExecKilled, "lease_released")
		<-r.Done()
	}
}

// Lose takes every instance of a runtime away, as somebody does who knows nothing of the driver. It counts as no release.
func (d *Driver) Lose(runtimeID string) {
	d.mu.Lock()
	maps.DeleteFunc(d.live, func(_ int, i Instance) bool { return i.Request.RuntimeID == runtimeID })
	running := d.running(runtimeID)
	d.mu.Unlock()
	end(running)
}

// Usurp loses a runtime and makes something else that has its name, which it returns. It counts as made.
func (d *Driver) Usurp(runtimeID string) Instance {
	d.Lose(runtimeID)
	_, _ = d.provide(drivers.AcquireRequest{RuntimeID: runtimeID, Installation: "somebody else"}) // nobody holds it
	for _, i := range d.Live() {
		if i.Request.RuntimeID == runtimeID {
			return i
		}
	}
	panic("fake: what was provided is not there")
}

var _ drivers.Keeper = (*Driver)(nil)
