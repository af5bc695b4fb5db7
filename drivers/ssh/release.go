package ssh

import (
	"context"
	"fmt"
	"strconv"

	"github.com/tenure-dev/tenure/drivers"
)

// Release implements [drivers.Driver]. It ends the commands that this process started, with their grace, then whatever
// else on the host has the runtime's id in its environment, and removes what the lease made.
func (d *Driver) Release(ctx context.Context, req drivers.ReleaseRequest) error {
	if err := checkRuntimeID(req.RuntimeID); err != nil {
		return err
	}
	c, err := configOf(req.Config)
	if err != nil {
		return err
	}
	done, err := d.quiet(ctx, req.RuntimeID)
	if err != nil {
		return err
	}
	defer done()
	if err := d.endCommands(ctx, req.RuntimeID, req.Fence); err != nil {
		return err
	}
	pins, _ := pinsOf(req.Metadata)
	if err := d.place(c).takeDown(ctx, pins, req.RuntimeID, req.Fence); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	return nil
}

// quiet lets no command of this process start in a runtime until done is called, and waits for those that just do.
func (d *Driver) quiet(ctx context.Context, runtimeID string) (done func(), err error) {
	idle := d.active.BeginRelease(runtimeID)
	select {
	case <-idle:
		return func() { d.active.EndRelease(runtimeID) }, nil
	case <-ctx.Done():
		d.active.EndRelease(runtimeID)
		return nil, context.Cause(ctx)
	}
}

// endCommands ends the commands of this process up to a holder, with their grace; 0 is every holder.
func (d *Driver) endCommands(ctx context.Context, runtimeID string, upTo int64) error {
	var running []*process
	for _, p := range d.active.Running(runtimeID) {
		if upTo == 0 || p.spec.req.Fence <= upTo {
			running = append(running, p)
		}
	}
	for _, p := range running {
		if err := p.Kill(ctx, "lease_released"); err != nil {
			return err
		}
	}
	for _, p := range running {
		if _, err := p.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// takeDown ends what carries the runtime's id on the host, and removes what the lease made, unless a newer holder than this one
// has it; 0 is no holder's.
func (p place) takeDown(ctx context.Context, pins []string, runtimeID string, fence int64) error {
	_, err := p.run(ctx, pins, releaseScript,
		variable{"root", p.c.root}, variable{"id", runtimeID}, variable{"cwd", p.c.remoteCwd(runtimeID)}, variable{"own", p.c.own()},
		variable{"fence", strconv.FormatInt(fence, 10)})
	return err
}
