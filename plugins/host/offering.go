package host

import (
	"slices"
	"strings"

	"github.com/tenure-dev/tenure/drivers/provider"
)

// Offering is something that a version of a plugin brings and that can be used here.
type Offering struct {
	Kind provider.Kind
	// Key is the provider's or the driver's, Plugin the plugin's key.
	Key, Plugin, Version string
	// New says that new runtimes are made by this version, Older that it drives those of every other version too.
	New, Older bool
}

// Offerings are all of them, in an order that is always the same.
func (h *Host) Offerings() []Offering {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []Offering
	for _, p := range h.table {
		if !p.usable {
			continue
		}
		in := p.installed
		for _, d := range in.Manifest.Drivers {
			all = append(all, Offering{
				Kind: d.Kind, Key: d.Key, Plugin: in.Plugin.Key, Version: in.Plugin.Version,
				New: p.enabled, Older: p.enabled && in.AcceptsOlder,
			})
		}
	}
	slices.SortFunc(all, func(a, b Offering) int {
		name := func(o Offering) string {
			return strings.Join([]string{string(o.Kind), o.Plugin, o.Key, o.Version}, "\x00")
		}
		return strings.Compare(name(a), name(b))
	})
	return all
}
