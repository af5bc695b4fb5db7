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
	resumed, err := d.runtimes.Acquire(ctx, req)
	if err != nil {
		return drivers.Runtime{}, err
	}
	workspace := d.runtimes.Layout(req.RuntimeID).Workspace
	return drivers.Runtime{Metadata: drivers.Metadata(map[string]any{"workspace": workspace}), Resumed: resumed}, nil
}

// Release implements [drivers.Driver].
func (d *Driver) Release(ctx context.Context, req drivers.ReleaseRequest) error {
	return d.runtimes.Release(ctx, req.RuntimeID, nil)
}

// ListRuntimes implements [drivers.Lister]. It includes what a crashed Release left half removed.
func (d *Driver) ListRuntimes(_ context.Context, req drivers.ListRequest) ([]drivers.ListedRuntime, error) {
	return d.runtimes.List(req.Installation)
}
