package runner_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/projections/projectionstest"
	"github.com/tenure-dev/tenure/projections/runner"
)

// A log was set back and the read models were not: what they have of its lost end is of no use. They are built anew, while
// the runner runs.
func TestAReadModelThatHasMoreThanAForkedLogIsBuiltAnew(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	r := e.runner(runner.Options{})
	run(t, r)
	events, streams := lives(t, 4)
	last := projectionstest.Append(t, e.store, events[:3*8])
	require.NoError(t, r.Wait(within(t, 30*time.Second), last))
	kept := int64(2*8 + 3)
	_, err := e.pool.Exec(t.Context(), `DELETE FROM events WHERE position > $1`, kept)
	require.NoError(t, err)
	require.NoError(t, e.store.Look(t.Context()))
	require.EqualValues(t, 2, e.store.Epoch())

	// The log grows beyond where they were, with something else.
	last = projectionstest.Append(t, e.store, events[3*8:])
	require.NoError(t, r.Wait(within(t, 60*time.Second), last))
	require.EqualValues(t, 3, e.row(t, streams[2]).Version, "what was lost is not shown")
	require.EqualValues(t, 8, e.row(t, streams[3]).Version)
	e.sameAsLog(t, r, r.Names()...)
}
