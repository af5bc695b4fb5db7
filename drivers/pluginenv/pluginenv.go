// Package pluginenv is the driver plugin: an environment names a plugin and one of the drivers that it brings, which is not
// a sandbox provider but a kind of environment of its own.
//
//	{"pluginKey": "acme.hosts", "driverKey": "vm", "driverConfig": {…}}
//
// Metadata of a lease: pluginId, pluginKey, driverKey, paperclipApiUrl, and providerMetadata with what the plugin says.
package pluginenv

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/provider"
)

// Name is the driver's.
const Name = "plugin"

const (
	fieldPlugin = "pluginKey"
	fieldDriver = "driverKey"
	fieldConfig = "driverConfig"
)

// Family is the driver plugin, with all drivers of all plugins.
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

// Provider implements [drivers.Family]: plugin:<pluginKey>:<driverKey>.
func (f *Family) Provider(config json.RawMessage) (string, error) {
	pluginKey, err := provider.Word(config, fieldPlugin)
	if err != nil {
		return "", err
	}
	driverKey, err := provider.Word(config, fieldDriver)
	if err != nil {
		return "", err
	}
	return strings.Join([]string{Name, pluginKey, driverKey}, ":"), nil
}

// Resolve implements [drivers.Family].
func (f *Family) Resolve(t drivers.Target) (drivers.Driver, error) {
	parts := strings.SplitN(t.Provider, ":", 3)
	if len(parts) != 3 || parts[0] != Name {
		return nil, &drivers.Failure{
			Outcome: drivers.OutcomeDefinite, Code: "provider_unavailable", Err: fmt.Errorf("%q names no driver of a plugin", t.Provider),
			Remediation: "name the plugin and its driver in config.pluginKey and config.driverKey",
		}
	}
	offer, err := f.workers.Offer(provider.Query{Kind: provider.KindDriver, Key: parts[2], PluginKey: parts[1], Plugin: t.Plugin})
	if err != nil {
		return nil, err
	}
	return provider.NewDriver(offer, provider.Shape{
		Driver: Name, Provider: t.Provider, Words: []string{fieldPlugin, fieldDriver}, Within: fieldConfig,
		Metadata: metadata, Said: said,
	}, f.late, f.urls), nil
}

func metadata(about provider.Description, _, said json.RawMessage, runtimeURL *string) json.RawMessage {
	return drivers.Metadata(map[string]any{
		"pluginId": about.Plugin.ID, "pluginKey": about.Plugin.Key, "driverKey": about.Key, "paperclipApiUrl": runtimeURL,
		"providerMetadata": said,
	})
}

func said(metadata json.RawMessage) json.RawMessage {
	var of struct {
		Said json.RawMessage `json:"providerMetadata"`
	}
	if json.Unmarshal(metadata, &of) != nil {
		return nil
	}
	return of.Said
}

var _ drivers.Family = (*Family)(nil)
