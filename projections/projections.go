// Package projections holds the read models: what the log says, laid out for questions.
//
// A read model is a pure fold of one row per stream, a [Definition]. The same fold keeps the tables up to date, rebuilds
// them, verifies them, and answers for a single thing straight from its stream ([Definition.OfStream]), which needs no
// table and so has no lag.
//
//	log ──► Apply(data, event) ──► row {stream, created, version, position, columns for questions, data}
//
// Package runner drives the folds; the folder of each read model has its fold in projection.go and its questions in
// query.go. Data is stored as JSON, and the columns beside it, which are derived from it, serve only to find rows. So
// whoever changes what is in the data of a read model gives it a new revision, which has tables of its own.
package projections

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"runtime/debug"
	"slices"
	"time"

	"github.com/google/uuid"
	fastjson "github.com/segmentio/encoding/json"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
)

// Head is what every row of every read model has.
type Head struct {
	Stream eventstore.Stream
	// Created is the position of the first event of the stream, which orders lists: no two streams share it.
	Created int64
	// Version and Position are those of the last event in the row.
	Version  int64
	Position int64
}

// Place returns the head.
func (h Head) Place() Head { return h }

// Row is a row of a read model.
type Row[R any] struct {
	Head
	Data R
}

// Column is derived from the data so that rows can be found by it.
type Column[R any] struct {
	Name string
	// Type is its type in Postgres.
	Type string
	// Of is its value: a string, int64, time or UUID; the zero time and UUID are stored as null.
	Of func(*R) any
}

// Definition is a read model.
type Definition[R any] struct {
	Name string
	// Revision is raised with every change of what Apply makes or of the columns.
	Revision int
	// Categories are those of the streams that it follows.
	Categories []string
	Columns    []Column[R]
	// Indexes are what stands behind ON table, such as "(company_id, created)".
	Indexes []string
	// Apply takes an event into the data, which is zero for a stream without a row. It has no other effect. Without keep
	// the stream has no row any more; so this must be the end of all that Apply needs to remember of the stream.
	Apply func(data *R, e *Event) (keep bool, err error)
	// Clone makes the data's own what Apply changes behind pointers; nil where it changes nothing there. Apply changes that
	// last, once nothing can go wrong.
	Clone func(data *R)
	// Tidy makes data that Apply made and data that was read as JSON the same; nil where they are.
	Tidy func(data *R)
}

// Event is a fact that is decoded once for all read models that follow it.
type Event struct {
	eventstore.Fact
	decoded any
}

// NewEvent wraps a fact.
func NewEvent(f eventstore.Fact) *Event { return &Event{Fact: f} }

// NewEvents wraps facts.
func NewEvents(page []eventstore.Fact) []*Event {
	all := make([]Event, len(page))
	events := make([]*Event, len(page))
	for i, f := range page {
		all[i].Fact = f
		events[i] = &all[i]
	}
	return events
}

// Decode returns what happened.
func Decode[E domain.Event](e *Event, codec domain.Codec[E]) (E, error) {
	if decoded, ok := e.decoded.(E); ok {
		return decoded, nil
	}
	decoded, err := codec.Decode(e.Name, e.Revision, e.Payload)
	if err == nil {
		e.decoded = decoded
	}
	return decoded, err
}

// Stored is a row of some read model: a *Row of its type.
type Stored interface{ Place() Head }

// Model is a read model as those see it who do not care what is in it.
type Model interface {
	// Key is its name and revision.
	Key() Key
	// Follows reports whether it takes events of the stream.
	Follows(eventstore.Stream) bool
	// Fold is the row after an event; nil stands for no row. The row that it is given stays as it is, and a panic of the
	// fold is an error.
	Fold(row Stored, e *Event) (Stored, error)
	// Update is Fold for one who needs no more the row that it gives: that one may be changed. After an error it is as it was.
	Update(row Stored, e *Event) (Stored, error)
	// Schema is what its tables look like.
	Schema() Schema
	// Encode returns the row's values in the order of the schema's columns.
	Encode(row Stored) ([]any, error)
	// Decode makes a row of a head and its data.
	Decode(head Head, data []byte) (Stored, error)
}

// Key identifies a read model.
type Key struct {
	Name     string
	Revision int
}

func (k Key) String() string { return fmt.Sprintf("%s v%d", k.Name, k.Revision) }

// Table is the name of the table of a generation.
func (k Key) Table(generation int64) string {
	return fmt.Sprintf("%s_v%d_g%d", k.Name, k.Revision, generation)
}

var validName = regexp.MustCompile(`^[a-z][a-z_]{0,40}$`)

// Check refuses a definition that no table could be made of.
func (d *Definition[R]) Check() error {
	if !validName.MatchString(d.Name) || d.Revision < 1 || len(d.Categories) == 0 || d.Apply == nil {
		return fmt.Errorf("read model %q revision %d: needs a name of small letters, a revision from 1, a category and a fold", d.Name, d.Revision)
	}
	return nil
}

// Key is its name and revision.
func (d *Definition[R]) Key() Key { return Key{Name: d.Name, Revision: d.Revision} }

// Follows reports whether it takes events of the stream.
func (d *Definition[R]) Follows(s eventstore.Stream) bool {
	return slices.Contains(d.Categories, s.Category())
}

// Fold is the row after an event. An event that the row has already changes nothing.
func (d *Definition[R]) Fold(row Stored, e *Event) (Stored, error) {
	old, _ := row.(*Row[R])
	next, err := d.fold(old, e)
	if err != nil {
		return row, err
	}
	if next == nil {
		return nil, nil //nolint:nilnil // no row is a good outcome
	}
	return next, nil
}

func (d *Definition[R]) fold(old *Row[R], e *Event) (next *Row[R], err error) {
	if old != nil && e.Version <= old.Version {
		return old, nil
	}
	next = &Row[R]{Head: Head{Stream: e.Stream, Created: e.Position}}
	if old != nil {
		*next = *old
		if d.Clone != nil {
			d.Clone(&next.Data)
		}
	}
	keep, err := d.apply(next, e)
	if err != nil || !keep {
		return nil, err
	}
	return next, nil
}

// Update is Fold, in the row itself.
func (d *Definition[R]) Update(row Stored, e *Event) (Stored, error) {
	r, _ := row.(*Row[R])
	if r == nil || e.Version <= r.Version {
		return d.Fold(row, e)
	}
	before := *r
	keep, err := d.apply(r, e)
	switch {
	case err != nil:
		*r = before
		return row, err
	case !keep:
		return nil, nil //nolint:nilnil // no row is a good outcome
	}
	return row, nil
}

// apply takes an event into a row. After an error the row is of no use.
func (d *Definition[R]) apply(row *Row[R], e *Event) (keep bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("event %d: the fold panicked: %v\n%s", e.Position, p, debug.Stack())
		}
	}()
	row.Version, row.Position = e.Version, e.Position
	if keep, err = d.Apply(&row.Data, e); err != nil {
		return false, fmt.Errorf("event %d: %w", e.Position, err)
	}
	d.tidy(&row.Data)
	return keep, nil
}

func (d *Definition[R]) tidy(data *R) {
	if d.Tidy != nil {
		d.Tidy(data)
	}
}

// OfStream is the row of one stream, folded from its events; ok says whether there is one.
func (d *Definition[R]) OfStream(events []eventstore.Recorded) (row Row[R], ok bool, err error) {
	var now *Row[R]
	for _, r := range events {
		if now, err = d.fold(now, NewEvent(r.Fact())); err != nil {
			return row, false, fmt.Errorf("%s: %w", d.Name, err)
		}
	}
	if now == nil {
		return row, false, nil
	}
	return *now, true, nil
}

// Read is [Definition.OfStream] for a stream in the log, as it is there now.
func (d *Definition[R]) Read(ctx context.Context, log eventstore.Reader, stream eventstore.Stream) (Row[R], bool, error) {
	var events []eventstore.Recorded
	for after := int64(0); ; {
		page, err := log.ReadStream(ctx, stream, after, eventstore.PageSize)
		if err != nil {
			return Row[R]{}, false, fmt.Errorf("read %s: %w", stream, err)
		}
		events = append(events, page...)
		if len(page) < eventstore.PageSize {
			return d.OfStream(events)
		}
		after = page[len(page)-1].Version
	}
}

// Encode returns the row's values in the order of the schema's columns.
func (d *Definition[R]) Encode(row Stored) ([]any, error) {
	r, ok := row.(*Row[R])
	if !ok {
		return nil, fmt.Errorf("%s: encode a row of another read model: %T", d.Name, row)
	}
	data, err := fastjson.Marshal(r.Data)
	if err != nil {
		return nil, fmt.Errorf("%s: encode %s: %w", d.Name, r.Stream, err)
	}
	values := make([]any, 0, len(headColumns)+len(d.Columns))
	values = append(values, string(r.Stream), r.Created, r.Version, r.Position, json.RawMessage(data))
	for _, c := range d.Columns {
		values = append(values, normal(c.Of(&r.Data)))
	}
	return values, nil
}

// normal makes a column's value fit for the database: every way to write it must store the same.
func normal(v any) any {
	switch v := v.(type) {
	case time.Time:
		if v.IsZero() {
			return nil
		}
		return v.UTC().Truncate(time.Microsecond)
	case uuid.UUID:
		if v == uuid.Nil {
			return nil
		}
	}
	return v
}

// Decode makes a row of a head and its data.
func (d *Definition[R]) Decode(head Head, data []byte) (Stored, error) {
	row, err := d.decode(head, data)
	if err != nil {
		return nil, err
	}
	return row, nil
}

func (d *Definition[R]) decode(head Head, data []byte) (*Row[R], error) {
	row := &Row[R]{Head: head}
	if err := fastjson.Unmarshal(data, &row.Data); err != nil {
		return nil, fmt.Errorf("%s: decode the row of %s: %w", d.Name, head.Stream, err)
	}
	d.tidy(&row.Data)
	return row, nil
}

// Absent makes JSON that is absent, or null, absent: stored, the two are the same.
func Absent(raws ...*json.RawMessage) {
	for _, raw := range raws {
		if string(*raw) == "null" {
			*raw = nil
		}
	}
}
