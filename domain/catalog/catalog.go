// Package catalog joins the catalogs of the domain's parts: every event that the log may hold, by its name.
//
//	log: (name, revision, payload) ──► the part that owns the name ──► upcast to today's revision ──► event
//
// It is for who reads the log across parts: projections, the feed, exports. A part's own decider uses the part's codec.
package catalog

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/company"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/epoch"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/install"
	"github.com/tenure-dev/tenure/domain/key"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/node"
	"github.com/tenure-dev/tenure/domain/outage"
	"github.com/tenure-dev/tenure/domain/plugin"
	"github.com/tenure-dev/tenure/domain/probe"
	"github.com/tenure-dev/tenure/domain/readmodel"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/domain/secret"
	"github.com/tenure-dev/tenure/domain/secretread"
)

// Part is one part of the domain and its events.
type Part struct {
	// Category is the first part of the name of its streams.
	Category string
	Entries  []domain.Entry
	decode   func(name string, revision int, payload []byte) (domain.Event, error)
	encode   func(domain.Event) (name string, revision int, payload []byte, err error)
}

var parts = []Part{
	part(company.Category, company.Codec),
	part(environment.Category, environment.Codec),
	part(admission.Category, admission.Codec),
	part(lease.Category, lease.Codec),
	part(runtime.Category, runtime.Codec),
	part(execution.Category, execution.Codec),
	part(key.Category, key.Codec),
	part(readmodel.Category, readmodel.Codec),
	part(plugin.Category, plugin.Codec),
	part(install.Category, install.Codec),
	part(probe.Category, probe.Codec),
	part(secret.Category, secret.Codec),
	part(secretread.Category, secretread.Codec),
	part(outage.Category, outage.Codec),
	part(epoch.Category, epoch.Codec),
	part(leak.Category, leak.Codec),
	part(node.Category, node.Codec),
}

func part[E domain.Event](category string, codec domain.Codec[E]) Part {
	return Part{
		Category: category,
		Entries:  codec.Entries(),
		decode: func(name string, revision int, payload []byte) (domain.Event, error) {
			e, err := codec.Decode(name, revision, payload)
			if err != nil {
				return nil, err // not e, which would be a typed nil
			}
			return e, nil
		},
		encode: func(e domain.Event) (string, int, []byte, error) {
			own, ok := e.(E)
			if !ok {
				return "", 0, nil, fmt.Errorf("event %s is not one of %s", e.EventName(), category)
			}
			return codec.Encode(own)
		},
	}
}

var byName = index(parts)

// index finds the part of each name. Two parts with one name are a programming error.
func index(parts []Part) map[string]Part {
	m := map[string]Part{}
	for _, p := range parts {
		for _, e := range p.Entries {
			if other, twice := m[e.Name]; twice {
				panic("catalog: " + p.Category + " and " + other.Category + " both name an event " + e.Name)
			}
			m[e.Name] = p
		}
	}
	return m
}

// Parts lists the parts of the domain.
func Parts() []Part { return slices.Clone(parts) }

// All lists every event that the log may hold, sorted by name.
func All() []domain.Entry {
	var all []domain.Entry
	for _, p := range parts {
		all = append(all, p.Entries...)
	}
	slices.SortFunc(all, func(a, b domain.Entry) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Decode returns a recorded event in its current revision.
func Decode(name string, revision int, payload []byte) (domain.Event, error) {
	p, ok := byName[name]
	if !ok {
		return nil, fmt.Errorf("event %s is not in the catalog", name)
	}
	return p.decode(name, revision, payload)
}

// Encode returns the stored form of an event in its current revision.
func Encode(e domain.Event) (name string, revision int, payload []byte, err error) {
	p, ok := byName[e.EventName()]
	if !ok {
		return "", 0, nil, fmt.Errorf("event %s is not in the catalog", e.EventName())
	}
	return p.encode(e)
}
