// Package plugins is the read model of installed plugins.
package plugins

import (
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/plugin"
	"github.com/tenure-dev/tenure/projections"
)

// Plugin is a plugin as it stands, with every version that was installed.
type Plugin struct {
	ID domain.PluginID
	plugin.State
}

// Row is a plugin and its place in the log.
type Row = projections.Row[Plugin]

// Model is the read model.
var Model = &projections.Definition[Plugin]{
	Name: "plugins", Revision: 2,
	Categories: []string{plugin.Category},
	Columns: []projections.Column[Plugin]{
		{Name: "key", Type: "text NOT NULL", Of: func(p *Plugin) any { return p.Key }},
		{Name: "status", Type: "text NOT NULL", Of: func(p *Plugin) any { return p.Status.String() }},
	},
	Apply: apply,
	Tidy: func(p *Plugin) {
		for i := range p.Versions {
			projections.Absent(&p.Versions[i].Installed.Manifest)
		}
	},
}

func apply(p *Plugin, e *projections.Event) (bool, error) {
	var err error
	if p.ID, err = projections.IDOf[domain.PluginID](e); err != nil {
		return false, err
	}
	return true, projections.Take(&p.State, e, plugin.Codec, plugin.Evolve)
}
