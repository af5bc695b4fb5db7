package pg_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// subscribe delivers the events of a new subscription, acknowledged.
func subscribe(t *testing.T, s *pg.Store, group string) <-chan eventstore.Recorded {
	t.Helper()
	sub, err := s.Subscriber(group)
	require.NoError(t, err)
	messages, err := sub.Subscribe(t.Context(), pg.Topic)
	require.NoError(t, err)
	events := make(chan eventstore.Recorded, 1000)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for m := range messages {
			if r, err := pg.FromMessage(m); err == nil {
				events <- r
			}
			m.Ack()
		}
	}()
	t.Cleanup(func() {
		require.NoError(t, sub.Close())
		<-ended
	})
	return events
}

func await(t *testing.T, events <-chan eventstore.Recorded, position int64, limit time.Duration) {
	t.Helper()
	select {
	case r := <-events:
		require.Equal(t, position, r.Position)
	case <-time.After(limit):
		require.FailNow(t, "an event does not come", "position %d within %s", position, limit)
	}
}

// Case A20: a transaction that has written and stays open, in this database, in this very schema, or as an append that was
// begun by hand, keeps no reader from anything that is committed.
func TestAnOpenWritingTransactionDelaysNoReader(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]string{
		"elsewhere":            `CREATE TABLE other (id bigint)`,
		"in the log's schema":  `INSERT INTO inputs VALUES (gen_random_uuid(), gen_random_uuid(), 's', '')`,
		"in the events' table": `UPDATE events SET payload = payload WHERE position = 1`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := pgtest.Pool(t)
			s := openPool(t, pool, pg.Options{PollInterval: time.Hour})
			events := subscribe(t, s, "g")
			eventstoretest.Must(t, s, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 1))
			await(t, events, 1, time.Minute)
			tx, err := pool.Begin(t.Context())
			require.NoError(t, err)
			_, err = tx.Exec(t.Context(), write)
			require.NoError(t, err)
			for n := int64(2); n < 12; n++ {
				eventstoretest.Must(t, s, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 1))
				await(t, events, n, time.Minute)
			}
			require.NoError(t, tx.Rollback(t.Context()))
		})
	}
}

// An append cannot be kept open over a round trip by accident: its procedure commits, and refuses where it cannot.
func TestAnAppendInsideATransactionIsRefused(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `
		CALL append_batch(1, NULL, NULL, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}',
		                  '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')`)
	require.ErrorContains(t, err, "invalid transaction termination")
	require.NoError(t, tx.Rollback(t.Context()))
}

// Case A21: appends that are refused, by a conflict or by the database, use up no position, and what comes after them is
// read at once. No two holes, nothing to wait for.
func TestRefusedAppendsLeaveNoHoleAndNoLag(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	_, err := pool.Exec(t.Context(), `ALTER TABLE events ADD CHECK (name <> 'Poison')`)
	require.NoError(t, err)
	const poll = 200 * time.Millisecond
	s := openPool(t, pool, pg.Options{PollInterval: poll})
	events := subscribe(t, s, "g")
	stream := eventstoretest.NewStream()
	eventstoretest.Must(t, s, eventstoretest.One(stream, eventstore.NoStream, 0))
	await(t, events, 1, time.Minute)
	for n := range 100 {
		a := eventstoretest.One(stream, eventstore.NoStream, n)
		if n%2 == 0 {
			a = eventstoretest.One(stream, eventstore.Any, n)
			a.Events[0].Name = "Poison"
		}
		_, err := eventstoretest.Do(t, s, a)
		require.Error(t, err)
	}
	eventstoretest.Must(t, s, eventstoretest.One(stream, eventstore.Exactly(1), 1))
	await(t, events, 2, 2*poll+30*time.Second)
	require.Eventually(t, func() bool {
		var lag int64
		err := pool.QueryRow(t.Context(), `
			SELECT (SELECT max(position) FROM events) - position FROM consumer_offsets WHERE consumer_group = 'g'`).Scan(&lag)
		return err == nil && lag == 0
	}, time.Minute, 10*time.Millisecond, "the lag is 0")
}

// The link that LISTENs dies without a word: an event of another process comes by the poll, and once the silence was noticed
// there is a new link that brings events at once.
func TestADeadListenLinkDelaysAnEventByNoMoreThanThePoll(t *testing.T) {
	t.Parallel()
	for name, silent := range map[string]bool{"cut": false, "silent": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.URL(t)
			pool := pgtest.Connect(t, url)
			require.NoError(t, migrations.Up(t.Context(), pool))
			proxy, proxied := pgtest.NewProxy(t, url)
			const poll, busy = 15 * time.Second, 10 * time.Second // less than two of them in any case
			s := openPool(t, pgtest.Connect(t, proxied), pg.Options{PollInterval: poll, CallTimeout: time.Second})
			other := openPool(t, pool, pg.Options{})
			events := subscribe(t, s, "g")
			position := int64(0)
			arrives := func(limit time.Duration) (took time.Duration) {
				t.Helper()
				eventstoretest.Must(t, other, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 1))
				begun := time.Now()
				position++
				await(t, events, position, limit)
				return time.Since(begun)
			}
			awake := func() {
				t.Helper()
				begun := time.Now()
				for arrives(poll+busy) > poll/2 {
					require.Less(t, time.Since(begun), 3*time.Minute, "events come by the poll alone")
				}
			}
			awake()
			trap := proxy.Set(&pgtest.Trap{Statement: "LISTEN", From: pgtest.FromServer, Silent: silent})
			arrives(poll + busy)
			<-trap.Sprung()
			arrives(poll + busy)
			awake()
		})
	}
}
