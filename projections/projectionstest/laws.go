package projectionstest

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections"
)

// Table is a read model in memory.
type Table map[eventstore.Stream]projections.Stored

// Laws tries the laws of read models on random histories.
func Laws(t *testing.T, m projections.Model) {
	t.Run("rebuild equals incremental", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) { rebuildEqualsIncremental(t, m, Random(t)) })
	})
	t.Run("redelivery is harmless", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) { redeliveryIsHarmless(t, m, Random(t)) })
	})
	t.Run("any prefix is valid", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) { anyPrefixIsValid(t, m, Random(t)) })
	})
}

// Fold folds events from nothing.
func Fold(t require.TestingT, m projections.Model, events []eventstore.Recorded) Table {
	table := Table{}
	for _, e := range facts(events) {
		table.take(t, m, e)
	}
	return table
}

// foldInPlace folds events from nothing as a rebuild does.
func foldInPlace(t require.TestingT, m projections.Model, events []eventstore.Recorded) Table {
	table := Table{}
	for _, e := range facts(events) {
		if !m.Follows(e.Stream) {
			continue
		}
		next, err := m.Update(table[e.Stream], e)
		require.NoError(t, err)
		if table[e.Stream] = next; next == nil {
			delete(table, e.Stream)
		}
	}
	return table
}

func facts(events []eventstore.Recorded) []*projections.Event {
	list := make([]eventstore.Fact, len(events))
	for i, r := range events {
		list[i] = r.Fact()
	}
	return projections.NewEvents(list)
}

func (table Table) take(t require.TestingT, m projections.Model, e *projections.Event) {
	if !m.Follows(e.Stream) {
		return
	}
	next, err := m.Fold(table[e.Stream], e)
	require.NoError(t, err)
	if next == nil {
		delete(table, e.Stream)
		return
	}
	table[e.Stream] = next
}

// rebuildEqualsIncremental: a row that goes to the database and back before every event ends as one that never did.
func rebuildEqualsIncremental(t *rapid.T, m projections.Model, events []eventstore.Recorded) {
	table := Table{}
	for _, e := range facts(events) {
		if row, ok := table[e.Stream]; ok {
			table[e.Stream] = thereAndBack(t, m, row)
		}
		table.take(t, m, e)
	}
	same(t, m, Fold(t, m, events), table)
	same(t, m, foldInPlace(t, m, events), table)
	// What is read equals what was made, not only in its stored form.
	for stream, row := range Fold(t, m, events) {
		require.Empty(t, cmp.Diff(row, thereAndBack(t, m, row)), "the row of %s changes by being stored", stream)
	}
}

func thereAndBack(t require.TestingT, m projections.Model, row projections.Stored) projections.Stored {
	back, err := m.Decode(row.Place(), dataOf(t, m, row))
	require.NoError(t, err)
	return back
}

// redeliveryIsHarmless: events that a row has already leave it as it is.
func redeliveryIsHarmless(t *rapid.T, m projections.Model, events []eventstore.Recorded) {
	table := Fold(t, m, events)
	for _, e := range facts(events) {
		row, ok := table[e.Stream]
		if !ok || !m.Follows(e.Stream) {
			continue
		}
		again, err := m.Fold(row, e)
		require.NoError(t, err)
		require.Same(t, row, again)
	}
}

// anyPrefixIsValid: every prefix of a history can be folded and stored, and leaves every earlier row as it was.
func anyPrefixIsValid(t *rapid.T, m projections.Model, events []eventstore.Recorded) {
	table := Table{}
	for _, e := range facts(events) {
		before := table[e.Stream]
		var stored []any
		if before != nil {
			stored = values(t, m, before)
		}
		table.take(t, m, e)
		if before != nil {
			require.Equal(t, stored, values(t, m, before), "the fold changed the row that it was given")
		}
		if row := table[e.Stream]; row != nil {
			head := row.Place()
			require.Equal(t, e.Position, head.Position)
			require.Equal(t, e.Version, head.Version)
			require.Len(t, values(t, m, row), len(m.Schema().Columns()))
		}
	}
}

func values(t require.TestingT, m projections.Model, row projections.Stored) []any {
	v, err := m.Encode(row)
	require.NoError(t, err)
	return v
}

func same(t require.TestingT, m projections.Model, want, got Table) {
	require.Len(t, got, len(want))
	for stream, row := range want {
		require.Contains(t, got, stream)
		require.Empty(t, cmp.Diff(values(t, m, row), values(t, m, got[stream])), stream)
	}
}

// dataOf is the row's data as stored.
func dataOf(t require.TestingT, m projections.Model, row projections.Stored) []byte {
	all := values(t, m, row)
	for i, column := range m.Schema().Columns() {
		if column == "data" {
			return all[i].(json.RawMessage)
		}
	}
	require.Fail(t, "no column data")
	return nil
}
