package pg_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// openCounted opens a store whose database counts the calls of each procedure.
func openCounted(t *testing.T) (*pg.Store, *pgxpool.Pool) {
	t.Helper()
	url := pgtest.URL(t)
	require.NoError(t, migrations.Up(t.Context(), pgtest.Connect(t, url)))
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	config.ConnConfig.RuntimeParams["track_functions"] = "pl"
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return openPool(t, pool, pg.Options{}), pool
}

// requireCalls requires how often a procedure was called, once the server's books have it all: a session writes them when it
// ends.
func requireCalls(t *testing.T, s *pg.Store, pool *pgxpool.Pool, procedure string, want int) {
	t.Helper()
	s.Close()
	n := 0
	require.Eventually(t, func() bool {
		err := pool.QueryRow(t.Context(), `
			SELECT calls FROM pg_stat_user_functions WHERE schemaname = current_schema() AND funcname = $1`, procedure).Scan(&n)
		return err == nil && n == want
	}, time.Minute, 10*time.Millisecond, "calls of %s: %d", procedure, want)
}

// rich is an append with all that an append can have: two streams, one of them twice, a check, a command, inputs, a limit.
func rich(checked eventstore.Stream, version int64, drop uuid.UUID) eventstore.Append {
	a := eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 1)
	second := eventstoretest.NewStream()
	a.Expect = append(a.Expect,
		eventstore.Expectation{Stream: second, Expect: eventstore.NoStream},
		eventstore.Expectation{Stream: checked, Expect: eventstore.Exactly(version)})
	a.Events = append(a.Events, eventstoretest.Event(second, 2), eventstoretest.Event(a.Events[0].Stream, 3), eventstoretest.Event(a.Events[0].Stream, 4))
	a.Command = &eventstore.Command{Company: eventstoretest.Company, Route: "r", Key: a.ID.String(), Resource: uuid.New()}
	a.NotAfter = time.Now().Add(time.Hour)
	a.Inputs = []eventstore.Input{{ID: uuid.New(), Company: eventstoretest.Company, Subject: second, Value: []byte("value")}}
	a.DropInputs = []uuid.UUID{drop}
	return a
}

func TestAWriterThatIsAloneWritesWhatItHasJudged(t *testing.T) {
	t.Parallel()
	s, pool := openCounted(t)
	checked := eventstoretest.NewStream()
	eventstoretest.Must(t, s, eventstoretest.One(checked, eventstore.NoStream, 0))
	drop := uuid.New()
	for range 10 {
		a := rich(checked, 1, drop)
		drop = a.Inputs[0].ID
		eventstoretest.Must(t, s, a)
		found, err := s.FindCommand(t.Context(), *a.Command)
		require.NoError(t, err)
		require.Equal(t, a.Command.Resource, found.Resource)
		again := a
		again.ID = uuid.New()
		again.Expect, again.Events = a.Expect[1:2], a.Events[1:2]
		again.Expect[0].Expect = eventstore.Any
		again.Inputs, again.DropInputs = nil, nil
		require.True(t, eventstoretest.Must(t, s, again).CommandReplayed)
	}
	var inputs []uuid.UUID
	rows, err := pool.Query(t.Context(), `SELECT id FROM inputs`)
	require.NoError(t, err)
	for rows.Next() {
		var id uuid.UUID
		require.NoError(t, rows.Scan(&id))
		inputs = append(inputs, id)
	}
	require.Equal(t, []uuid.UUID{drop}, inputs)
	events := eventstoretest.All(t, s)
	require.Len(t, events, 41)
	heads := map[eventstore.Stream]eventstore.Recorded{}
	for i, r := range events {
		require.Equal(t, int64(i+1), r.Position)
		require.Equal(t, int64(i+1), r.CompanyPosition)
		require.Equal(t, eventstore.Hash(r), r.Hash)
		before, ok := heads[r.Stream]
		if !ok {
			before.Hash = eventstore.NoHash()
		}
		require.Equal(t, before.Version+1, r.Version)
		require.Equal(t, before.Hash, r.PrevHash)
		heads[r.Stream] = r
	}
	// The first append is judged by the log, and those are that repeat a command, once append_one has seen that they do.
	requireCalls(t, s, pool, "append_next", 10)
	requireCalls(t, s, pool, "append_one", 10)
	requireCalls(t, s, pool, "append_batch", 11)
}

func TestWhatIsRememberedIsNotTrustedOnceAnotherProcessAppended(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	one, other := openPool(t, pool, pg.Options{}), openPool(t, pool, pg.Options{})
	checked := eventstoretest.NewStream()
	eventstoretest.Must(t, one, eventstoretest.One(checked, eventstore.NoStream, 0))
	for version := int64(1); version < 10; version++ {
		for range 3 {
			// One is alone for a while, and writes what it has judged itself.
			a := eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 0)
			a.Expect = append(a.Expect, eventstore.Expectation{Stream: checked, Expect: eventstore.Exactly(version)})
			eventstoretest.Must(t, one, a)
		}
		eventstoretest.Must(t, other, eventstoretest.One(checked, eventstore.Exactly(version), 0))
		a := eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 0)
		a.Expect = append(a.Expect, eventstore.Expectation{Stream: checked, Expect: eventstore.Exactly(version)})
		_, err := eventstoretest.Do(t, one, a)
		require.ErrorIs(t, err, eventstore.ErrConflict)
		a.Expect[1].Expect = eventstore.Exactly(version + 1)
		eventstoretest.Must(t, one, a)
	}
	for i, r := range eventstoretest.All(t, one) {
		require.Equal(t, int64(i+1), r.Position)
	}
}

// The call looks at the log's head with a snapshot from before it waited for its turn, so it does not see what the process
// before it wrote: the table refuses the place that is taken, and the log judges.
func TestWhatIsWrittenWhileAnAppendWaitsForItsTurnCounts(t *testing.T) {
	t.Parallel()
	for procedure, way := range ways {
		t.Run(procedure, func(t *testing.T) {
			t.Parallel()
			pool := pgtest.Pool(t)
			s := openPool(t, pool, pg.Options{})
			checked := eventstoretest.NewStream()
			eventstoretest.Must(t, s, eventstoretest.One(checked, eventstore.NoStream, 0))
			warm(t, s)

			tx, err := pool.Begin(t.Context())
			require.NoError(t, err)
			_, err = tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock(append_lock_key())`)
			require.NoError(t, err)
			late := way.append(0)
			late.Expect = append(late.Expect, eventstore.Expectation{Stream: checked, Expect: eventstore.Exactly(1)})
			waiting := s.Submit(late)
			awaitLockQueue(t, pool, 1)
			// Another process has its turn before it, and brings the checked stream on.
			_, err = tx.Exec(t.Context(), `
				INSERT INTO events
				SELECT last.position + 1, epoch, stream, version + 1, name, revision, company_id, last.company_position + 1, recorded_at, gen_random_uuid(),
				       append_index, actor_id, key_id, request_id, cause_id, payload, salt, commitment, prev_hash, hash
				  FROM events, (SELECT max(position) AS position, max(company_position) AS company_position FROM events) last
				 WHERE stream = $1`, string(checked))
			require.NoError(t, err)
			require.NoError(t, tx.Commit(t.Context()))
			_, err = waiting.Wait(t.Context())
			require.ErrorIs(t, err, eventstore.ErrConflict)
			eventstoretest.Must(t, s, way.append(0))
			for i, r := range eventstoretest.All(t, s) {
				require.Equal(t, int64(i+1), r.Position)
			}
		})
	}
}

// What another process, or this one before its restart, wrote is not remembered. That there is none of it is not taken for
// granted, also where only a check says so and the table would refuse nothing.
func TestAStreamFromBeforeIsLookedAt(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	stream := eventstoretest.NewStream()
	eventstoretest.Must(t, openPool(t, pool, pg.Options{}), eventstoretest.One(stream, eventstore.NoStream, 0))
	s := openPool(t, pool, pg.Options{})
	warm(t, s)
	a := eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 0)
	a.Expect = append(a.Expect, eventstore.Expectation{Stream: stream, Expect: eventstore.NoStream})
	_, err := eventstoretest.Do(t, s, a)
	require.ErrorIs(t, err, eventstore.ErrConflict)
	_, err = eventstoretest.Do(t, s, eventstoretest.One(stream, eventstore.NoStream, 0))
	require.ErrorIs(t, err, eventstore.ErrConflict)
	r := eventstoretest.Must(t, s, eventstoretest.One(stream, eventstore.Exactly(1), 0))
	require.Equal(t, int64(warmEvents+2), r.First)
}

// A log that was set back, by a restore or a standby that lacked its end, has no hole after what this process remembers, and
// nothing is appended to it under the epoch whose end is lost.
func TestALogThatWasSetBackHasNoHole(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	s := openPool(t, pool, pg.Options{})
	stream := eventstoretest.NewStream()
	for n := range 5 {
		eventstoretest.Must(t, s, eventstoretest.One(stream, eventstore.Exactly(int64(n)), n))
	}
	_, err := pool.Exec(t.Context(), `DELETE FROM events WHERE position > 3`)
	require.NoError(t, err)
	_, err = eventstoretest.Do(t, s, eventstoretest.One(stream, eventstore.Exactly(3), 0))
	require.ErrorIs(t, err, eventstore.ErrStaleEpoch)
	_, err = eventstoretest.Do(t, s, eventstoretest.One(stream, eventstore.Exactly(5), 0))
	require.ErrorIs(t, err, eventstore.ErrConflict)
	r := eventstoretest.Must(t, s, eventstoretest.One(stream, eventstore.Exactly(3), 0))
	require.EqualValues(t, 2, r.Epoch)
	require.Equal(t, int64(5), r.First, "the fork is on record before it")
}

func TestOneThatIsTooLateDoesNotTakeItsNeighboursAlong(t *testing.T) {
	t.Parallel()
	s := open(t)
	var waits []eventstore.Pending
	for n := range 50 {
		a := eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, n)
		if n%10 == 5 {
			a.NotAfter = s.Clock().Now().Add(-time.Minute)
		}
		waits = append(waits, s.Submit(a))
	}
	for n, w := range waits {
		_, err := w.Wait(t.Context())
		if n%10 == 5 {
			require.ErrorIs(t, err, eventstore.ErrTooLate)
			continue
		}
		require.NoError(t, err)
	}
}
