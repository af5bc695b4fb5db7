package sdk

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/tenure-dev/tenure/plugins/protocol"
)

// Manifest is what a plugin says of itself before it runs. What its drivers can do is not repeated here: it is taken from
// the drivers.
type Manifest struct {
	// ID is the plugin's key: lower-case letters, digits, '.', '_' and '-'.
	ID string
	// Version is a semantic version.
	Version     string
	DisplayName string
	Description string
	Author      string
	// Drivers describes each driver of the plugin, by its key; one that is absent gets its key as its name and takes any
	// configuration.
	Drivers map[string]DriverManifest
	// Worker is the program of the worker within the plugin's directory; "" is "worker".
	Worker string
}

// DriverManifest describes one driver.
type DriverManifest struct {
	DisplayName string
	Description string
	// Kind is sandbox_provider ("") or environment_driver.
	Kind string
	// ConfigSchema is the JSON Schema of its configuration; a property with format "secret-ref" is a secret. nil takes any object.
	ConfigSchema json.RawMessage
}

// manifestFile is the manifest as it is written, in the words of the published schema. The key tenure is the extension's;
// the published schema drops it.
type manifestFile struct {
	ID           string           `json:"id"`
	APIVersion   int              `json:"apiVersion"`
	Version      string           `json:"version"`
	DisplayName  string           `json:"displayName"`
	Description  string           `json:"description"`
	Author       string           `json:"author"`
	Categories   []string         `json:"categories"`
	Capabilities []string         `json:"capabilities"`
	Entrypoints  entrypoints      `json:"entrypoints"`
	Drivers      []manifestDriver `json:"environmentDrivers"`
	Tenure       manifestTenure   `json:"tenure"`
}

type entrypoints struct {
	Worker string `json:"worker"`
}

type manifestDriver struct {
	DriverKey              string          `json:"driverKey"`
	Kind                   string          `json:"kind"`
	DisplayName            string          `json:"displayName"`
	Description            string          `json:"description,omitempty"`
	ConfigSchema           json.RawMessage `json:"configSchema"`
	SupportsReusableLeases bool            `json:"supportsReusableLeases,omitempty"`
}

type manifestTenure struct {
	Drivers map[string]protocol.TenureDriver `json:"drivers"`
}

// ManifestJSON is the plugin's manifest, as the file manifest.json of its directory holds it.
func (p Plugin) ManifestJSON() ([]byte, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	m := p.Manifest
	file := manifestFile{
		ID: m.ID, APIVersion: 1, Version: m.Version, DisplayName: cmp.Or(m.DisplayName, m.ID), Description: cmp.Or(m.Description, m.DisplayName, m.ID),
		Author: cmp.Or(m.Author, "unknown"), Categories: []string{"automation"}, Capabilities: []string{"environment.drivers.register"},
		Entrypoints: entrypoints{Worker: cmp.Or(m.Worker, "worker")}, Tenure: manifestTenure{Drivers: p.accept().Drivers},
	}
	for key := range m.Drivers {
		if _, ok := p.Drivers[key]; !ok {
			return nil, fmt.Errorf("manifest: the plugin has no driver %q", key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(p.Drivers)) {
		about := m.Drivers[key]
		schema := about.ConfigSchema
		if schema == nil {
			schema = json.RawMessage(`{"type": "object"}`)
		}
		if !json.Valid(schema) {
			return nil, fmt.Errorf("manifest: the configuration's schema of driver %q is no JSON", key)
		}
		file.Drivers = append(file.Drivers, manifestDriver{
			DriverKey: key, Kind: cmp.Or(about.Kind, "sandbox_provider"), DisplayName: cmp.Or(about.DisplayName, key),
			Description: about.Description, ConfigSchema: schema, SupportsReusableLeases: keeps(p.Drivers[key]),
		})
	}
	return json.MarshalIndent(file, "", "  ")
}
