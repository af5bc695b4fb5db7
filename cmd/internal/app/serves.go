package app

import (
	"strings"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/pluginenv"
	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/drivers/sandbox"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/plugins/host"
)

// serves names the drivers whose runtimes this process can make, for the supervisors of others: those of its own by name,
// those of plugins by provider and version.
func (a *App) serves() []string {
	names := ownDrivers(a.drivers)
	for _, o := range a.host.Offerings() {
		names = append(names, namesOf(o)...)
	}
	return names
}

// ownDrivers are those that no plugin brings, and which runtimes of them can be kept. What plugins can do is in the log.
func ownDrivers(all *drivers.Registry) (names []string) {
	for _, name := range all.Names() {
		if ofPlugins(name) {
			continue
		}
		names = append(names, name)
		if d, err := all.Resolve(drivers.Target{Driver: name}); err == nil && d.Describe().Capabilities.Keep {
			names = append(names, eventstore.KeepsOf(name))
		}
	}
	return names
}

func namesOf(o host.Offering) (names []string) {
	name := sandbox.Name + "/" + o.Key
	if o.Kind == provider.KindDriver {
		name = pluginenv.Name + "/" + strings.Join([]string{pluginenv.Name, o.Plugin, o.Key}, ":")
	}
	if o.New {
		names = append(names, name)
	}
	if o.Older {
		return append(names, name+"@*")
	}
	return append(names, name+"@"+o.Version)
}
