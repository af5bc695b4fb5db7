package local

import (
	"context"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/rundir"
)

// Acquire implements [drivers.Driver]. The metadata names the workspace.
func (d *Driver) Acquire(ctx context.Context, req drivers.AcquireRequest) (drivers.Runtime, error) {
	if err := rundir.CheckID(req.RuntimeID); err != nil {
		return drivers.Runtime{}, err
	}
	if _, err := decodeConfig(req.Config); err != nil {
		return drivers.Runtime{}, drivers.BadConfig(err)
	}
	got, err := d.runtimes.Acquire(ctx, req)
	if err != nil {
		return drivers.Runtime{}, err
	}
	return d.runtime(req.RuntimeID, got), nil
}

func (d *Driver) runtime(runtimeID string, got rundir.Acquired) drivers.Runtime {
	return drivers.Runtime{Resumed: got.Resumed, Metadata: drivers.Metadata(map[string]any{
		"workspace": d.runtimes.Layout(runtimeID).Workspace, drivers.IdentityKey: got.Identity,
	})}
}

// Keep implements [drivers.Keeper]. A runtime without processes uses nothing but its disk, stopped or not.
func (d *Driver) Keep(ctx context.Context, req drivers.KeepRequest) error {
	return d.runtimes.Keep(ctx, req, nil)
}

// Resume implements [drivers.Keeper].
func (d *Driver) Resume(ctx context.Context, req drivers.ResumeRequest) (drivers.Runtime, error) {
	if _, err := decodeConfig(req.Config); err != nil {
		return drivers.Runtime{}, drivers.BadConfig(err)
	}
	identity, err := d.runtimes.Resume(ctx, req, nil)
	if err != nil {
		return drivers.Runtime{}, err
	}
	return d.runtime(req.RuntimeID, rundir.Acquired{Resumed: true, Identity: identity}), nil
}

// Release implements [drivers.Driver].
func (d *Driver) Release(ctx context.Context, req drivers.ReleaseRequest) error {
	return d.runtimes.Release(ctx, req.RuntimeID, req.Fence, nil)
}

// ListRuntimes implements [drivers.Lister]. It includes what a crashed Release left half removed.
func (d *Driver) ListRuntimes(_ context.Context, req drivers.ListRequest) ([]drivers.ListedRuntime, error) {
	return d.runtimes.List(req.Installation)
}
