package host

import (
	"cmp"
	"context"
	"encoding/json"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/plugins/manifest"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// offer is one driver of one plugin.
type offer struct {
	plugin *plugin
	driver manifest.Driver
}

// Describe implements [provider.Offer]. What a manifest of the published SDK does not say is taken from the worker's own answer to
// initialize, as it was when it last ran; before it ever ran, from what such plugins usually have.
func (o offer) Describe() provider.Description {
	o.plugin.mu.Lock()
	learnt := o.plugin.learnt
	o.plugin.mu.Unlock()
	has := func(method string, before bool) bool {
		if len(learnt) == 0 {
			return before
		}
		return learnt.has(method)
	}
	d := provider.Description{
		Plugin: o.plugin.installed.Plugin, Kind: o.driver.Kind, Key: o.driver.Key, Class: o.driver.Class(), Isolation: "provider",
		Exec: has(protocol.MethodExecute, true), Probe: has(protocol.MethodProbe, true), Destroy: has(protocol.MethodDestroy, false),
		ReusableLeases: o.driver.ReusableLeases,
	}
	if t := o.driver.Tenure; t != nil {
		d.Isolation, d.NodeBound = cmp.Or(t.Isolation, d.Isolation), t.NodeBound
		d.Streams, d.List = t.Exec, t.List
	}
	return d
}

// CheckConfig implements [drivers.ConfigChecker].
func (o offer) CheckConfig(config json.RawMessage) error { return o.driver.CheckConfig(config) }

// SecretFields implements [drivers.SecretHolder].
func (o offer) SecretFields(config json.RawMessage) []drivers.SecretField {
	return o.driver.SecretFields(config)
}

// Worker implements [provider.Offer].
func (o offer) Worker(ctx context.Context) (provider.Worker, error) {
	c, err := o.plugin.worker(ctx)
	if err != nil {
		return nil, err
	}
	return &worker{child: c, driver: o.driver}, nil
}

var _ provider.Offer = offer{}
