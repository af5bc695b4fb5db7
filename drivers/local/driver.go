package local

import (
	"encoding/json"
	"fmt"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/rundir"
)

// Driver makes runtimes under one directory of this machine.
type Driver struct {
	opts     Options
	runtimes *rundir.Dir
}

// New returns a driver and makes its root.
func New(opts Options) (*Driver, error) {
	opts = opts.Defaults()
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("driver local: %w", err)
	}
	runtimes, err := rundir.Open(rundir.Options{
		Root: opts.Root, ParentCommand: opts.ParentCommand, Credential: opts.credential(), Grace: opts.Grace,
	})
	if err != nil {
		return nil, fmt.Errorf("driver local: %w", err)
	}
	return &Driver{opts: opts, runtimes: runtimes}, nil
}

// Describe implements [drivers.Driver].
func (d *Driver) Describe() drivers.Description {
	isolation := "none"
	if d.opts.credential() != nil {
		isolation = "uid"
	}
	return drivers.Description{
		Name: "local", Provider: "local", Class: drivers.ClassIdempotent, Isolation: isolation, NodeBound: true,
		Capabilities: drivers.Capabilities{Exec: true, List: true, CheckConfig: true, Probe: true, Keep: true},
	}
}

// CheckConfig implements [drivers.ConfigChecker].
func (d *Driver) CheckConfig(config json.RawMessage) error {
	_, err := decodeConfig(config)
	return err
}

var (
	_ drivers.Driver        = (*Driver)(nil)
	_ drivers.Executor      = (*Driver)(nil)
	_ drivers.Keeper        = (*Driver)(nil)
	_ drivers.Lister        = (*Driver)(nil)
	_ drivers.ConfigChecker = (*Driver)(nil)
)
