package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// Plugin is what a worker serves.
type Plugin struct {
	Manifest Manifest
	// Drivers by the key that an environment names them with. What each can do is in its Describe.
	Drivers map[string]drivers.Driver
	// Drain bounds an orderly end; 0 is 8 s, since a host waits 10.
	Drain time.Duration
	// Closed, if set, is called when nothing is served any more, before Serve returns.
	Closed func() error
}

// Realizer is a driver whose working directory is not told by the metadata of a runtime.
type Realizer interface {
	// Realize prepares the workspace of a runtime and returns its directory.
	Realize(ctx context.Context, h drivers.Handle, workspace json.RawMessage) (cwd string, err error)
}

// defaultDrain leaves a host that waits 10 s for a shutdown some time to see its end.
const defaultDrain = 8 * time.Second

func (p Plugin) validate() error {
	if len(p.Drivers) == 0 {
		return errors.New("plugin: it has no driver")
	}
	for key, d := range p.Drivers {
		if d == nil {
			return fmt.Errorf("plugin: the driver %q is nil", key)
		}
	}
	return nil
}

// accept is what the plugin says of its drivers, in the handshake and in the manifest alike.
func (p Plugin) accept() *protocol.TenureAccept {
	a := &protocol.TenureAccept{Version: protocol.ExtensionVersion, Drivers: make(map[string]protocol.TenureDriver, len(p.Drivers))}
	for key, d := range p.Drivers {
		said := d.Describe()
		_, exec := d.(drivers.Executor)
		_, list := d.(drivers.Lister)
		a.Drivers[key] = protocol.TenureDriver{
			Class: string(said.Class), Isolation: said.Isolation, NodeBound: said.NodeBound,
			Exec: exec && said.Capabilities.Exec, List: list && said.Capabilities.List,
		}
	}
	return a
}

// keeps says that a driver keeps runtimes for a later lease: that it is a [drivers.Keeper], and says so.
func keeps(d drivers.Driver) bool {
	_, ok := d.(drivers.Keeper)
	return ok && d.Describe().Capabilities.Keep
}

// methods are the verbs that at least one driver has.
func (p Plugin) methods(tenure bool) []string {
	all := []string{
		protocol.MethodAcquire, protocol.MethodRelease, protocol.MethodDestroy, protocol.MethodRealize, protocol.MethodHealth,
		protocol.MethodShutdown, protocol.MethodConfigChanged,
	}
	for _, key := range slices.Sorted(maps.Keys(p.Drivers)) {
		d := p.Drivers[key]
		can := d.Describe().Capabilities
		if can.CheckConfig {
			all = append(all, protocol.MethodValidateConfig)
		}
		if can.Probe {
			all = append(all, protocol.MethodProbe)
		}
		if keeps(d) {
			all = append(all, protocol.MethodResume)
		}
		if can.Exec {
			all = append(all, protocol.MethodExecute)
		}
		if tenure && can.Exec {
			all = append(all, protocol.MethodExecStart, protocol.MethodExecKill)
		}
		if tenure && can.List {
			all = append(all, protocol.MethodList)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
