package drivers

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Registry is the drivers of one process by name. It is built once, in the composition root, and never changes: nothing
// registers itself from an init function.
type Registry struct {
	byName map[string]Driver
}

// NewRegistry returns a registry of ds. Two drivers of one name, or a driver without a name, are an error.
func NewRegistry(ds ...Driver) (*Registry, error) {
	r := &Registry{byName: make(map[string]Driver, len(ds))}
	var problems []error
	for _, d := range ds {
		name := d.Describe().Name
		if name == "" {
			problems = append(problems, fmt.Errorf("driver %T has no name", d))
			continue
		}
		if _, taken := r.byName[name]; taken {
			problems = append(problems, fmt.Errorf("driver %q is registered twice", name))
			continue
		}
		r.byName[name] = d
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return r, nil
}

// Get returns the driver called name.
func (r *Registry) Get(name string) (Driver, bool) {
	d, ok := r.byName[name]
	return d, ok
}

// Names returns the names of all drivers in order.
func (r *Registry) Names() []string { return slices.Sorted(maps.Keys(r.byName)) }

// All returns all drivers in the order of their names.
func (r *Registry) All() []Driver {
	all := make([]Driver, 0, len(r.byName))
	for _, name := range r.Names() {
		all = append(all, r.byName[name])
	}
	return all
}
