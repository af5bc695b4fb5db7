package domain

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	fastjson "github.com/segmentio/encoding/json"
)

// Event is a fact that happened. Its name is the one in the log and never changes, whatever the Go type is called.
type Event interface{ EventName() string }

// Upcaster turns the payload of revision n into that of revision n+1.
type Upcaster func(json.RawMessage) (json.RawMessage, error)

// EventSpec is one line of a part's catalog.
type EventSpec[E Event] struct {
	Name string
	// Revision is the one written today, from 1. Upcasters[i] lifts revision i+1 to i+2.
	Revision  int
	Upcasters []Upcaster
	decode    func(json.RawMessage) (E, error)
}

// Spec describes event T of the sum E. Its current revision is one more than the number of upcasters.
func Spec[T, E Event](upcasters ...Upcaster) EventSpec[E] {
	var zero T
	times := timesIn(reflect.TypeFor[T]())
	return EventSpec[E]{
		Name:      zero.EventName(),
		Revision:  len(upcasters) + 1,
		Upcasters: upcasters,
		decode: func(raw json.RawMessage) (E, error) {
			var t T
			err := fastjson.Unmarshal(raw, &t)
			if err == nil {
				err = readAgain(raw, &t, times)
			}
			if err != nil {
				var none E
				return none, err
			}
			return any(t).(E), nil
		},
	}
}

// Codec turns the events of one part into what the log stores, and back.
type Codec[E Event] struct{ specs map[string]EventSpec[E] }

// NewCodec joins the lines of a catalog. Two lines with one name are a programming error.
func NewCodec[E Event](specs ...EventSpec[E]) Codec[E] {
	m := make(map[string]EventSpec[E], len(specs))
	for _, s := range specs {
		if _, twice := m[s.Name]; twice {
			panic("domain: two events are named " + s.Name)
		}
		m[s.Name] = s
	}
	return Codec[E]{specs: m}
}

// Encode returns the stored form of e in its current revision.
func (c Codec[E]) Encode(e E) (name string, revision int, payload []byte, err error) {
	spec, ok := c.specs[e.EventName()]
	if !ok {
		return "", 0, nil, fmt.Errorf("event %s is not in the catalog", e.EventName())
	}
	payload, err = json.Marshal(e)
	if err != nil {
		return "", 0, nil, fmt.Errorf("encode %s: %w", spec.Name, err)
	}
	return spec.Name, spec.Revision, payload, nil
}

// Decode returns the event in its current revision. A newer revision than this program knows is an error: it must not
// guess.
func (c Codec[E]) Decode(name string, revision int, payload []byte) (E, error) {
	var none E
	spec, ok := c.specs[name]
	if !ok {
		return none, fmt.Errorf("event %s is not in the catalog", name)
	}
	if revision < 1 || revision > spec.Revision {
		return none, fmt.Errorf("event %s has revision %d; this program knows up to %d", name, revision, spec.Revision)
	}
	raw := json.RawMessage(payload)
	for r := revision; r < spec.Revision; r++ {
		var err error
		if raw, err = spec.Upcasters[r-1](raw); err != nil {
			return none, fmt.Errorf("upcast %s from revision %d: %w", name, r, err)
		}
	}
	e, err := spec.decode(raw)
	if err != nil {
		return none, fmt.Errorf("decode %s: %w", name, err)
	}
	return e, nil
}

// Entry is a name and its current revision.
type Entry struct {
	Name     string
	Revision int
}

// Entries lists the catalog, sorted by name.
func (c Codec[E]) Entries() []Entry {
	out := make([]Entry, 0, len(c.specs))
	for _, s := range c.specs {
		out = append(out, Entry{Name: s.Name, Revision: s.Revision})
	}
	slices.SortFunc(out, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
