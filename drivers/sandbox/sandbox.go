// Package sandbox is the driver for runtimes that a provider makes: an environment's field provider names who, and a plugin
// that offers it does the work.
//
// Metadata of a lease: pluginId, pluginKey, the stored configuration with its references to secrets, and what the provider
// says, less its secrets; and paperclipApiUrl. Of the provider fake it is what the provider says, and nothing else.
package sandbox

import (
	"encoding/json"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/provider"
)

// Name is the driver's.
const Name = "sandbox"

const (
	fieldProvider = "provider"
	// fake is the deterministic provider, whose leases look as the seed's.
	fake = "fake"
)

// Family is the driver sandbox, with all providers that are installed.
type Family struct {
	workers provider.Workers
	late    *provider.Late
	urls    provider.URLFinder
}

// New makes the family; urls may be nil.
func New(workers provider.Workers, late *provider.Late, urls provider.URLFinder) *Family {
	return &Family{workers: workers, late: late, urls: urls}
}

// Name implements [drivers.Family].
func (f *Family) Name() string { return Name }

// Provider implements [drivers.Family].
func (f *Family) Provider(config json.RawMessage) (string, error) {
	return provider.Word(config, fieldProvider)
}

// Resolve implements [drivers.Family].
func (f *Family) Resolve(t drivers.Target) (drivers.Driver, error) {
	offer, err := f.workers.Offer(provider.Query{Kind: provider.KindSandbox, Key: t.Provider, Plugin: t.Plugin})
	if err != nil {
		return nil, err
	}
	shape := provider.Shape{
		Driver: Name, Provider: t.Provider, Words: []string{fieldProvider}, Metadata: metadata,
		Said: func(metadata json.RawMessage) json.RawMessage { return metadata },
	}
	if t.Provider == fake {
		shape.NoRuntimeURL = true
		shape.Metadata = func(_ provider.Description, _, said json.RawMessage, _ *string) json.RawMessage { return said }
	}
	return provider.NewDriver(offer, shape, f.late, f.urls), nil
}

// metadata lays what the provider says over the configuration; the engine's own words win.
func metadata(about provider.Description, stored, said json.RawMessage, runtimeURL *string) json.RawMessage {
	fields := map[string]any{}
	for _, layer := range []json.RawMessage{stored, said} {
		var of map[string]json.RawMessage
		if json.Unmarshal(layer, &of) == nil {
			for name, value := range of {
				fields[name] = value
			}
		}
	}
	fields[fieldProvider], fields["pluginId"], fields["pluginKey"] = about.Key, about.Plugin.ID, about.Plugin.Key
	fields["paperclipApiUrl"] = runtimeURL
	return drivers.Metadata(fields)
}

var _ drivers.Family = (*Family)(nil)
