package drivers

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Family is a driver that stands for many: the configuration of an environment says which of them.
type Family interface {
	// Name is the value of an environment's field driver.
	Name() string
	// Provider is who makes the runtimes of an environment with this configuration. Its error is a [*ConfigError].
	Provider(config json.RawMessage) (string, error)
	// Resolve returns the driver for a target of this family. Its error is a [*Failure].
	Resolve(t Target) (Driver, error)
}

// Target says who makes a runtime, or made it: what a lease keeps of its driver.
type Target struct {
	Driver   string
	Provider string
	// Plugin made the runtime; the zero one stands for whichever would make it now.
	Plugin Plugin
}

// Registry is the drivers of one process by name. It is built once, in the composition root, and never changes: nothing
// registers itself from an init function.
type Registry struct {
	byName map[string]Family
}

// NewRegistry returns a registry of ds. Two drivers of one name, or a driver without a name, are an error.
func NewRegistry(ds ...Driver) (*Registry, error) {
	families := make([]Family, len(ds))
	for i, d := range ds {
		families[i] = single{d}
	}
	return (&Registry{}).With(families...)
}

// With returns a registry that has these families as well.
func (r *Registry) With(families ...Family) (*Registry, error) {
	all := &Registry{byName: maps.Clone(r.byName)}
	if all.byName == nil {
		all.byName = make(map[string]Family, len(families))
	}
	var problems []error
	for _, f := range families {
		name := f.Name()
		if name == "" {
			problems = append(problems, fmt.Errorf("driver %T has no name", f))
			continue
		}
		if _, taken := all.byName[name]; taken {
			problems = append(problems, fmt.Errorf("driver %q is registered twice", name))
			continue
		}
		all.byName[name] = f
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return all, nil
}

// Names returns the names of all drivers in order.
func (r *Registry) Names() []string { return slices.Sorted(maps.Keys(r.byName)) }

// Provider is who makes the runtimes of an environment with this driver and configuration; ok is false for a driver that is
// not here. The error is a [*ConfigError].
func (r *Registry) Provider(driver string, config json.RawMessage) (provider string, ok bool, err error) {
	f, ok := r.byName[driver]
	if !ok {
		return "", false, nil
	}
	provider, err = f.Provider(config)
	return provider, true, err
}

// Resolve returns the driver for a target. Its error is a [*Failure].
func (r *Registry) Resolve(t Target) (Driver, error) {
	f, ok := r.byName[t.Driver]
	if !ok {
		return nil, &Failure{
			Outcome: OutcomeDefinite, Code: "driver_unavailable", Err: fmt.Errorf("this engine has no driver %q", t.Driver),
			Remediation: "start an engine that has it, or use another environment with one of: " + strings.Join(r.Names(), ", "),
		}
	}
	return f.Resolve(t)
}

// single is a driver as the family of itself.
type single struct{ Driver }

func (s single) Name() string { return s.Describe().Name }

func (s single) Provider(json.RawMessage) (string, error) { return s.Describe().Provider, nil }

func (s single) Resolve(Target) (Driver, error) { return s.Driver, nil }
