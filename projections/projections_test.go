package projections_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections"
)

type tally struct {
	Events int
	At     time.Time
	ID     uuid.UUID
}

func tallies(apply func(*tally, *projections.Event) (bool, error)) *projections.Definition[tally] {
	return &projections.Definition[tally]{
		Name: "tallies", Revision: 2, Categories: []string{"thing"}, Apply: apply,
		Columns: []projections.Column[tally]{
			{Name: "at", Type: "timestamptz", Of: func(d *tally) any { return d.At }},
			{Name: "thing_id", Type: "uuid NOT NULL", Of: func(d *tally) any { return d.ID }},
		},
		Indexes: []string{"(at)"},
	}
}

func counting(d *tally, e *projections.Event) (bool, error) {
	d.Events++
	d.At = e.RecordedAt
	return e.Name != "Gone", nil
}

func history(names ...string) []eventstore.Recorded {
	var out []eventstore.Recorded
	for i, name := range names {
		n := int64(i + 1)
		out = append(out, eventstore.Recorded{Position: 10 * n, Version: n, Stream: "thing-1", Name: name, RecordedAt: time.Unix(n, 1)})
	}
	return out
}

func TestARowIsBornChangesAndGoes(t *testing.T) {
	t.Parallel()
	d := tallies(counting)
	_, ok, err := d.OfStream(nil)
	require.NoError(t, err)
	require.False(t, ok)
	row, ok, err := d.OfStream(history("Made", "Used"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, projections.Head{Stream: "thing-1", Created: 10, Version: 2, Position: 20}, row.Head)
	require.Equal(t, 2, row.Data.Events)
	_, ok, err = d.OfStream(history("Made", "Gone"))
	require.NoError(t, err)
	require.False(t, ok)
}

func TestAPanicOfAFoldIsItsErrorAndLeavesTheRow(t *testing.T) {
	t.Parallel()
	d := tallies(func(d *tally, _ *projections.Event) (bool, error) {
		d.Events = 99
		panic("no")
	})
	before := &projections.Row[tally]{Head: projections.Head{Stream: "thing-1", Version: 1}, Data: tally{Events: 1}}
	after, err := d.Fold(before, projections.NewEvent(history("Made", "Used")[1].Fact()))
	require.ErrorContains(t, err, "event 20: the fold panicked: no")
	require.Same(t, before, after)
	require.Equal(t, 1, before.Data.Events)
	after, err = d.Update(before, projections.NewEvent(history("Made", "Used")[1].Fact()))
	require.ErrorContains(t, err, "event 20: the fold panicked: no")
	require.Same(t, before, after)
	require.Equal(t, 1, before.Data.Events, "also where it may be changed")
	require.EqualValues(t, 1, before.Version)
}

func TestADefinitionWithoutATableIsRefused(t *testing.T) {
	t.Parallel()
	require.NoError(t, tallies(counting).Check())
	for _, spoil := range []func(d *projections.Definition[tally]){
		func(d *projections.Definition[tally]) { d.Name = `x"; DROP TABLE events` },
		func(d *projections.Definition[tally]) { d.Revision = 0 },
		func(d *projections.Definition[tally]) { d.Categories = nil },
		func(d *projections.Definition[tally]) { d.Apply = nil },
	} {
		d := tallies(counting)
		spoil(d)
		require.Error(t, d.Check())
	}
}

func TestStatementsNameTheGenerationsTable(t *testing.T) {
	t.Parallel()
	s := tallies(counting).Schema()
	require.Contains(t, s.Create(3), "CREATE TABLE tallies_v2_g3 (")
	require.Contains(t, s.Create(3), "thing_id uuid NOT NULL")
	require.Contains(t, s.Index(3), "CREATE INDEX ON tallies_v2_g3 (at)")
	require.Contains(t, s.Upsert(3), "u.thing_id::uuid")
	require.Equal(t, "DROP TABLE IF EXISTS tallies_v2_g3", s.Drop(3))
}

func TestValuesAreStoredTheSameWayOnEveryPath(t *testing.T) {
	t.Parallel()
	d := tallies(counting)
	row := &projections.Row[tally]{Head: projections.Head{Stream: "thing-1"}}
	values, err := d.Encode(row)
	require.NoError(t, err)
	require.Nil(t, values[5], "the zero time is null")
	require.Nil(t, values[6], "the zero id is null")
	row.Data.At = time.Date(2026, 1, 2, 3, 4, 5, 6789, time.FixedZone("x", 3600))
	values, err = d.Encode(row)
	require.NoError(t, err)
	require.Equal(t, time.Date(2026, 1, 2, 2, 4, 5, 6000, time.UTC), values[5])
	args, err := d.Schema().Texts([][]any{values})
	require.NoError(t, err)
	require.Equal(t, "2026-01-02T02:04:05.000006Z", *args[5].([]*string)[0])
	require.Nil(t, args[6].([]*string)[0])
	_, err = d.Schema().Texts([][]any{{struct{}{}}})
	require.ErrorContains(t, err, "column stream: struct {} cannot be stored")
	_, err = d.Schema().AppendCopy(nil, []any{struct{}{}})
	require.ErrorContains(t, err, "column stream: struct {} cannot be stored")
}

func TestAbsentJSONStaysAbsent(t *testing.T) {
	t.Parallel()
	absent, there := json.RawMessage("null"), json.RawMessage("{}")
	projections.Absent(&absent, &there)
	require.Nil(t, absent)
	require.JSONEq(t, "{}", string(there))
}
