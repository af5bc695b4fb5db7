package ssh

import (
	"context"
	"fmt"

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
	idle := d.active.BeginRelease(req.RuntimeID)
	defer d.active.EndRelease(req.RuntimeID)
	select {
	case <-idle:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for _, p := range d.active.Running(req.RuntimeID) {
		if err := p.Kill(ctx, "lease_released"); err != nil {
			return err
		}
	}
	for _, p := range d.active.Running(req.RuntimeID) {
		if _, err := p.Wait(ctx); err != nil {
			return err
		}
	}
	pins, _ := pinsOf(req.Metadata)
	if err := d.place(c).takeDown(ctx, pins, req.RuntimeID); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	return nil
}

// takeDown ends what carries the runtime's id on the host, and removes what the lease made.
func (p place) takeDown(ctx context.Context, pins []string, runtimeID string) error {
	own := "no"
	if p.c.perLease {
		own = "yes"
	}
	_, err := p.run(ctx, pins, releaseScript,
		variable{"root", p.c.root}, variable{"id", runtimeID}, variable{"cwd", p.c.remoteCwd(runtimeID)}, variable{"own", own})
	return err
}
