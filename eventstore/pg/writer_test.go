package pg_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// through opens a store whose link goes through a proxy. The pool has one connection that is there already, so that the
// proxy spoils an append and nothing else.
func through(t *testing.T, opts pg.Options) (*pg.Store, *pgtest.Proxy) {
	t.Helper()
	url := pgtest.URL(t)
	require.NoError(t, migrations.Up(t.Context(), pgtest.Connect(t, url)))
	proxy, proxied := pgtest.NewProxy(t, url)
	s, err := pg.Open(context.Background(), pgtest.Connect(t, proxied), opts)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s, proxy
}

func TestAnAppendWhoseReplyWasLostHappensOnce(t *testing.T) {
	t.Parallel()
	s, proxy := through(t, pg.Options{PollInterval: time.Hour})
	stream := eventstoretest.NewStream()
	for n := range 10 {
		proxy.SwallowReplies(1)
		r := eventstoretest.Must(t, s, eventstoretest.One(stream, eventstore.Exactly(int64(n)), n))
		require.True(t, proxy.Swallowed())
		require.Equal(t, int64(n+1), r.First, "the caller's answer is what the log has")
	}
	require.Len(t, eventstoretest.All(t, s), 10)
}

func TestAnAppendWithoutADatabaseSaysThatNothingHappened(t *testing.T) {
	t.Parallel()
	s, proxy := through(t, pg.Options{AppendTimeout: 50 * time.Millisecond})
	proxy.Refuse(true)
	_, err := eventstoretest.Do(t, s, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 1))
	require.Error(t, err)
	proxy.Refuse(false)
	r := resolve(t, s, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 1)) // 50 ms may be too short for it
	require.Equal(t, int64(1), r.First)
}

func TestAPoisonAppendFailsAlone(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	_, err := pool.Exec(t.Context(), `ALTER TABLE events ADD CHECK (name <> 'Poison')`)
	require.NoError(t, err)
	s, err := pg.Open(context.Background(), pool, pg.Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)

	// While one append is under way the rest collect and go as one batch.
	waits := make([]eventstore.Pending, 64)
	for i := range waits {
		a := eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, i)
		if i == 37 {
			a.Events[0].Name = "Poison"
		}
		waits[i] = s.Submit(a)
	}
	for i, w := range waits {
		_, err := w.Wait(t.Context())
		if i == 37 {
			require.ErrorContains(t, err, "violates check constraint")
			continue
		}
		require.NoError(t, err)
	}
	require.Len(t, eventstoretest.All(t, s), 63)
}

func TestACallerThatGivesUpDoesNotTakeItsNeighboursAlong(t *testing.T) {
	t.Parallel()
	s := open(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	a := eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 1)
	_, err := s.Submit(a).Wait(gone)
	if err != nil {
		require.ErrorIs(t, err, eventstore.ErrUnknownOutcome)
	}
	eventstoretest.Must(t, s, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 2))
	again := eventstoretest.Must(t, s, a)
	require.True(t, again.Replayed, "the append went on although its caller had left")
}

func TestControlGoesBeforeTheEndsOfLeasesAndTheseBeforeBulk(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	s, err := pg.Open(context.Background(), pool, pg.Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	// The lock is held by somebody else while both lanes fill.
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock(append_lock_key())`)
	require.NoError(t, err)
	first := s.Submit(eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 0))
	require.Eventually(t, func() bool {
		var waiting int
		err := pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`).Scan(&waiting)
		return err == nil && waiting > 0
	}, time.Minute, time.Millisecond)
	var bulk []eventstore.Pending
	for n := range 100 {
		a := eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, n)
		a.Lane = eventstore.LaneBulk
		bulk = append(bulk, s.Submit(a))
	}
	// Ten thousand leases end at once: all of them are behind a renewal that comes after them, and before an import.
	const ends = 10_000
	var expiries []eventstore.Pending
	for n := range ends {
		a := eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, n)
		a.Lane = eventstore.LaneExpiry
		expiries = append(expiries, s.Submit(a))
	}
	control := s.Submit(eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 1))
	require.NoError(t, tx.Rollback(t.Context()))
	r, err := control.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(2), r.First)
	last, err := expiries[ends-1].Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(ends+2), last.First)
	for _, p := range append(bulk, first) {
		_, err := p.Wait(t.Context())
		require.NoError(t, err)
	}
}

func TestAppendsOfTwoProcessesAreOneLog(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	var stores []*pg.Store
	for range 3 {
		s, err := pg.Open(context.Background(), pool, pg.Options{PollInterval: time.Hour})
		require.NoError(t, err)
		t.Cleanup(s.Close)
		stores = append(stores, s)
	}
	var waits []eventstore.Pending
	for n := range 300 {
		waits = append(waits, stores[n%3].Submit(eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, n)))
	}
	for _, w := range waits {
		_, err := w.Wait(t.Context())
		require.NoError(t, err)
	}
	for i, r := range eventstoretest.All(t, stores[0]) {
		require.Equal(t, int64(i+1), r.Position)
	}
	// The poll would take an hour: NOTIFY tells the others.
	changed := stores[1].Changed()
	eventstoretest.Must(t, stores[0], eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 1))
	select {
	case <-changed:
	case <-time.After(time.Minute):
		t.Fatal("the other process was not told")
	}
}

func TestSchemasOfOneDatabaseDoNotBlockOrWakeEachOther(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	s, err := pg.Open(context.Background(), pool, pg.Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	other := open(t)
	require.NotEqual(t, s.Channel(), other.Channel())
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock(append_lock_key())`)
	require.NoError(t, err)
	eventstoretest.Must(t, other, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 1))
	require.NoError(t, tx.Rollback(t.Context()))
}

func TestAnotherIsolationLevelIsRefused(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	require.NoError(t, migrations.Up(t.Context(), pgtest.Connect(t, url)))
	s, err := pg.Open(context.Background(), pgtest.Connect(t, url+` default_transaction_isolation='repeatable read'`), pg.Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	_, err = eventstoretest.Do(t, s, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 1))
	require.ErrorContains(t, err, "READ COMMITTED")
}

func TestAnAppendIsDurableWhateverTheDefaultOfTheServer(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pool := pgtest.Connect(t, url+` synchronous_commit=off jit=on`)
	require.NoError(t, migrations.Up(t.Context(), pool))
	_, err := pool.Exec(t.Context(), `
		CREATE TABLE seen (setting text, jit text);
		CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit'), current_setting('jit')); RETURN NULL; END $$;
		CREATE TRIGGER look AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION look()`)
	require.NoError(t, err)
	s, err := pg.Open(context.Background(), pool, pg.Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	eventstoretest.Must(t, s, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 1))
	var setting, jit string
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT setting, jit FROM seen`).Scan(&setting, &jit))
	require.Equal(t, "on", setting)
	require.Equal(t, "off", jit, "compiling the look-ups would take a hundred times as long as they do")
}

func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 8, 32, 128} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			s, err := pg.Open(context.Background(), pgtest.Pool(b), pg.Options{})
			require.NoError(b, err)
			b.Cleanup(s.Close)
			b.SetParallelism(max(writers/2, 1))
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					a := eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 1)
					if _, err := s.Submit(a).Wait(context.Background()); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
