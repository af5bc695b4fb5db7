package check

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/catalog"
)

// folded: a read model shows exactly what its fold makes of the log up to where it got.
func folded(j *judge) {
	if len(j.ReadModels) == 0 {
		return
	}
	models := map[projections.Key]projections.Model{}
	for _, m := range catalog.All() {
		models[m.Key()] = m
	}
	events := make([]*projections.Event, len(j.records))
	for i := range j.records {
		events[i] = projections.NewEvent(j.records[i].Fact())
	}
	for i := range j.ReadModels {
		t := &j.ReadModels[i]
		key := projections.Key{Name: t.Name, Revision: t.Revision}
		m := models[key]
		if m == nil {
			j.broken(key.String(), "there is no such read model")
			continue
		}
		table(j, m, t, events)
	}
}

func table(j *judge, m projections.Model, t *ReadModel, events []*projections.Event) {
	if head := j.head(); t.Position > head {
		j.broken(t.Name, fmt.Sprintf("it is at position %d; the log ends at %d", t.Position, head))
	}
	want, broken := fold(m, t.Position, events)
	for stream, err := range broken {
		j.broken(t.Name+" "+string(stream), "it cannot be folded: "+err.Error())
	}
	have := make(map[eventstore.Stream]*Row, len(t.Rows))
	for i := range t.Rows {
		row := &t.Rows[i]
		if have[row.Stream] != nil {
			j.broken(t.Name+" "+string(row.Stream), "it has two rows")
		}
		have[row.Stream] = row
	}
	j.see(len(want) + len(t.Rows))
	for _, stream := range slices.Sorted(maps.Keys(want)) {
		if broken[stream] != nil {
			continue
		}
		if row := have[stream]; row == nil {
			j.broken(t.Name+" "+string(stream), "it has no row", j.upTo(stream, t.Position))
		} else if difference := compare(m, want[stream], row); difference != "" {
			j.broken(t.Name+" "+string(stream), difference, j.upTo(stream, t.Position))
		}
	}
	for _, stream := range slices.Sorted(maps.Keys(have)) {
		if want[stream] == nil && broken[stream] == nil {
			j.broken(t.Name+" "+string(stream), "it has a row, and the log has none for it", j.upTo(stream, t.Position))
		}
	}
}

// upTo is the last event of a stream up to a position.
func (j *judge) upTo(stream eventstore.Stream, position int64) (last *record) {
	for _, r := range j.streams[stream] {
		if r.Position <= position {
			last = r
		}
	}
	return last
}

func fold(m projections.Model, position int64, events []*projections.Event) (rows map[eventstore.Stream]projections.Stored, broken map[eventstore.Stream]error) {
	rows, broken = map[eventstore.Stream]projections.Stored{}, map[eventstore.Stream]error{}
	for _, e := range events {
		if e.Position > position {
			break
		}
		if !m.Follows(e.Stream) || broken[e.Stream] != nil {
			continue
		}
		row, err := m.Update(rows[e.Stream], e)
		switch {
		case err != nil:
			broken[e.Stream] = err
		case row == nil:
			delete(rows, e.Stream)
		default:
			rows[e.Stream] = row
		}
	}
	return rows, broken
}

// compare says how a row differs from its fold; "" if it does not.
func compare(m projections.Model, want projections.Stored, row *Row) string {
	head := projections.Head{Stream: row.Stream, Created: row.Created, Version: row.Version, Position: row.Position}
	if at := want.Place(); at != head {
		return fmt.Sprintf("it is at version %d, position %d, created %d; its fold at version %d, position %d, created %d",
			row.Version, row.Position, row.Created, at.Version, at.Position, at.Created)
	}
	stored, err := m.Decode(head, row.Data)
	if err != nil {
		return "it cannot be read: " + err.Error()
	}
	a, err := dataOf(m, want)
	if err != nil {
		return err.Error()
	}
	b, err := dataOf(m, stored)
	if err != nil {
		return err.Error()
	}
	if !bytes.Equal(a, b) {
		return fmt.Sprintf("it is %s; its fold is %s", clip(b), clip(a))
	}
	return ""
}

// dataOf is the data of a row as it is stored: the same for equal rows.
func dataOf(m projections.Model, row projections.Stored) (json.RawMessage, error) {
	values, err := m.Encode(row)
	if err != nil {
		return nil, err
	}
	for i, c := range m.Schema().Columns() {
		if c == "data" {
			if data, ok := values[i].(json.RawMessage); ok {
				return data, nil
			}
		}
	}
	return nil, fmt.Errorf("%s: no data", m.Key())
}

func clip(b []byte) string {
	const limit = 600
	if len(b) <= limit {
		return string(b)
	}
	return string(b[:limit]) + "…"
}
