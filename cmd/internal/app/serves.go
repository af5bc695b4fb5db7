package app

import (
	"strings"

	"github.com/tenure-dev/tenure/drivers/pluginenv"
	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/drivers/sandbox"
	"github.com/tenure-dev/tenure/plugins/host"
)

// serves names the drivers whose runtimes this process can make, for the supervisors of others: those of its own by name,
// those of plugins by provider and version.
func (a *App) serves() []string {
	var names []string
	for _, name := range a.drivers.Names() {
		if name != sandbox.Name && name != pluginenv.Name {
			names = append(names, name)
		}
	}
	for _, o := range a.host.Offerings() {
		names = append(names, namesOf(o)...)
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
