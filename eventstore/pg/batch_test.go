package pg_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// together holds the log's lock while appends are submitted behind a first one, so that they go as one batch, and returns
// their outcomes.
func together(t *testing.T, appends ...eventstore.Append) (*pg.Store, []eventstore.Result, []error) {
	t.Helper()
	pool := pgtest.Pool(t)
	s := openPool(t, pool, pg.Options{})
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock(append_lock_key())`)
	require.NoError(t, err)
	first := s.Submit(eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 0))
	awaitLockQueue(t, pool, 1)
	waits := make([]eventstore.Pending, len(appends))
	for i, a := range appends {
		waits[i] = s.Submit(a)
	}
	require.NoError(t, tx.Rollback(t.Context()))
	_, err = first.Wait(t.Context())
	require.NoError(t, err)
	results, errs := make([]eventstore.Result, len(appends)), make([]error, len(appends))
	for i, w := range waits {
		results[i], errs[i] = w.Wait(t.Context())
	}
	return s, results, errs
}

// awaitLockQueue returns once an append waits for the log's lock.
func awaitLockQueue(t *testing.T, pool *pgxpool.Pool, length int) {
	t.Helper()
	require.Eventually(t, func() bool {
		var waiting int
		err := pool.QueryRow(t.Context(), `
			SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
			 WHERE l.locktype = 'advisory' AND NOT l.granted AND pg_backend_pid() <> pid
			   AND (l.classid::bigint << 32 | l.objid::bigint) = append_lock_key()`).Scan(&waiting)
		return err == nil && waiting == length
	}, time.Minute, time.Millisecond)
}

func TestAppendsOfOneBatchAreJudgedOneAfterTheOther(t *testing.T) {
	t.Parallel()
	a, b, c := eventstoretest.NewStream(), eventstoretest.NewStream(), eventstoretest.NewStream()
	one, checked, failed := eventstoretest.One, eventstoretest.One(c, eventstore.NoStream, 6), eventstoretest.One(c, eventstore.Exactly(1), 7)
	checked.Expect = append(checked.Expect, eventstore.Expectation{Stream: a, Expect: eventstore.Exactly(2)})
	failed.Expect = append(failed.Expect, eventstore.Expectation{Stream: b, Expect: eventstore.NoStream})
	both := one(a, eventstore.Exactly(2), 8)
	both.Events = append(both.Events, eventstoretest.Event(a, 9))
	chained := one(a, eventstore.Exactly(4), 10)
	chained.Expect[0].By = both.ID
	strange := one(a, eventstore.Exactly(5), 11)
	strange.Expect[0].By = both.ID

	s, results, errs := together(t,
		one(a, eventstore.NoStream, 1),   // 2
		one(a, eventstore.NoStream, 2),   // the same stream again: refused
		one(a, eventstore.Exactly(1), 3), // 3: chained to the first
		one(b, eventstore.Any, 4),        // 4
		checked,                          // 5: a check on a neighbour's stream
		failed,                           // refused for what a neighbour wrote
		both,                             // 6 and 7: one stream twice in one append
		chained,                          // 8: chained to a neighbour by its id
		strange,                          // refused: another neighbour brought it there
	)
	var first []int64
	for i, err := range errs {
		if err != nil {
			require.ErrorIs(t, err, eventstore.ErrConflict)
			first = append(first, 0)
			continue
		}
		first = append(first, results[i].First)
	}
	require.Equal(t, []int64{2, 0, 3, 4, 5, 0, 6, 8, 0}, first)
	var calls []time.Time
	for _, r := range eventstoretest.All(t, s)[1:] {
		calls = append(calls, r.RecordedAt)
	}
	for _, at := range calls {
		require.Equal(t, calls[0], at, "one call has one time")
	}
}

func TestAnIDTwiceInTheQueueIsAppendedOnce(t *testing.T) {
	t.Parallel()
	a := eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 1)
	other := eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 2)
	s, results, errs := together(t, a, other, a, a)
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.False(t, results[0].Replayed)
	for _, r := range results[2:] {
		require.True(t, r.Replayed)
		require.Equal(t, results[0].First, r.First)
	}
	require.Len(t, eventstoretest.All(t, s), 3)
}

func TestACommandTwiceInABatchHasOneOutcome(t *testing.T) {
	t.Parallel()
	appends := make([]eventstore.Append, 3)
	for i := range appends {
		appends[i] = eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, i)
		appends[i].Command = &eventstore.Command{Company: eventstoretest.Company, Route: "r", Key: "k", Resource: uuid.New()}
	}
	appends[2].Command.RequestHash[0] = 1
	s, results, errs := together(t, appends...)
	require.NoError(t, errs[0])
	require.NoError(t, errs[1])
	require.True(t, results[1].CommandReplayed)
	require.Equal(t, appends[0].Command.Resource, results[1].Resource)
	require.Equal(t, results[0].First, results[1].First)
	require.ErrorIs(t, errs[2], eventstore.ErrCommandReused)
	require.Len(t, eventstoretest.All(t, s), 2)
}
