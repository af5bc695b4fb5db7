package pg_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// receive reads n events of a group's subscription and acknowledges them.
func receive(t *testing.T, s *pg.Store, group string, n int) []eventstore.Recorded {
	t.Helper()
	sub, err := s.Subscriber(group)
	require.NoError(t, err)
	defer func() { require.NoError(t, sub.Close()) }()
	messages, err := sub.Subscribe(t.Context(), pg.Topic)
	require.NoError(t, err)
	var out []eventstore.Recorded
	for len(out) < n {
		select {
		case m := <-messages:
			r, err := pg.FromMessage(m)
			require.NoError(t, err)
			out = append(out, r)
			m.Ack()
		case <-time.After(time.Minute):
			t.Fatalf("only %d of %d events came", len(out), n)
		}
	}
	return out
}

func TestASubscriberGetsTheLogInOrderAndGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	s, err := pg.Open(context.Background(), pool, pg.Options{PollInterval: 50 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	fill := func(n int) {
		for i := range n {
			eventstoretest.Must(t, s, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, i))
		}
	}
	fill(20)
	require.Equal(t, eventstoretest.All(t, s), receive(t, s, "a", 20))
	fill(5)
	rest := receive(t, s, "a", 5)
	// The place is a hint: an event may come again after a restart, none is left out.
	require.LessOrEqual(t, rest[0].Position, int64(21))
	require.Len(t, receive(t, s, "b", 25), 25, "another group has a place of its own")

	// Case A25: the place put back to the beginning replays the log.
	_, err = pool.Exec(t.Context(), `UPDATE consumer_offsets SET position = 0 WHERE consumer_group = 'a'`)
	require.NoError(t, err)
	require.Equal(t, int64(1), receive(t, s, "a", 25)[0].Position)
}

func TestAnEventWakesTheSubscriberLongBeforeThePoll(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	var stores []*pg.Store
	for range 2 {
		s, err := pg.Open(context.Background(), pool, pg.Options{PollInterval: time.Hour})
		require.NoError(t, err)
		t.Cleanup(s.Close)
		stores = append(stores, s)
	}
	sub, err := stores[0].Subscriber("g")
	require.NoError(t, err)
	defer func() { require.NoError(t, sub.Close()) }()
	messages, err := sub.Subscribe(t.Context(), pg.Topic)
	require.NoError(t, err)
	for n := range 20 {
		eventstoretest.Must(t, stores[n%2], eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, n))
		select {
		case m := <-messages:
			m.Ack()
		case <-time.After(time.Minute):
			t.Fatal("the event did not come")
		}
	}
}
