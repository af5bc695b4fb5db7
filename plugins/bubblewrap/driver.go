package bubblewrap

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/rundir"
)

// Key is the driver's key in its plugin's manifest.
const Key = "bubblewrap"

// Driver makes sandboxes on this machine.
type Driver struct {
	opts     Options
	runtimes *rundir.Dir
	etc      *etc
	// version asks bwrap once.
	version func() version
}

// New returns a driver and makes its root. That bwrap is there and works is for Probe and Acquire to say.
func New(opts Options) (*Driver, error) {
	opts = opts.Defaults()
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("driver bubblewrap: %w", err)
	}
	runtimes, err := rundir.Open(rundir.Options{
		Root: opts.Root, ParentCommand: opts.ParentCommand, Credential: opts.credential(), Grace: opts.Grace,
		Contained: true,
	})
	if err != nil {
		return nil, fmt.Errorf("driver bubblewrap: %w", err)
	}
	uid, gid := opts.user()
	files, err := openEtc(filepath.Join(runtimes.Root(), ".etc"), uid, gid)
	if err != nil {
		return nil, fmt.Errorf("driver bubblewrap: %w", err)
	}
	d := &Driver{opts: opts, runtimes: runtimes, etc: files}
	d.version = sync.OnceValue(d.askVersion)
	return d, nil
}

// Describe implements [drivers.Driver].
func (d *Driver) Describe() drivers.Description {
	return drivers.Description{
		Name: Key, Provider: Key, Class: drivers.ClassIdempotent, Isolation: "namespaces", NodeBound: true,
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
	_ drivers.Prober        = (*Driver)(nil)
	_ drivers.ConfigChecker = (*Driver)(nil)
)
