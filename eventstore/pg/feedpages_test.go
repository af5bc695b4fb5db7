package pg_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// messages are those of a new subscription, as they come.
func messages(t *testing.T, s *pg.Store, group string) <-chan *message.Message {
	t.Helper()
	sub, err := s.Subscriber(group)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sub.Close()) })
	out, err := sub.Subscribe(t.Context(), pg.Topic)
	require.NoError(t, err)
	return out
}

// take is the next event, which is to be acknowledged.
func take(t *testing.T, from <-chan *message.Message) (eventstore.Recorded, *message.Message) {
	t.Helper()
	select {
	case m := <-from:
		r, err := pg.FromMessage(m)
		require.NoError(t, err)
		return r, m
	case <-time.After(time.Minute):
		require.FailNow(t, "no event came")
		return eventstore.Recorded{}, nil
	}
}

func TestNothingIsOpenInTheDatabaseWhileAnEventIsHandled(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	s := openPool(t, pool, pg.Options{PollInterval: time.Hour})
	for n := range 10 {
		eventstoretest.Must(t, s, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, n))
	}
	_, handled := take(t, messages(t, s, "g"))
	require.Eventually(t, func() bool { return pool.Stat().AcquiredConns() == 0 }, time.Minute, time.Millisecond)
	handled.Ack()
}

// Large events come in small pages, so that a subscription holds few of them however slow its handler is.
func TestAPageOfLargeEventsIsCut(t *testing.T) {
	t.Parallel()
	s := openPool(t, pgtest.Pool(t), pg.Options{})
	const events = 60
	large := []byte(`"` + strings.Repeat("x", eventstore.MaxEventBytes-2) + `"`)
	for n := range events {
		a := eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, n)
		if n%10 > 0 {
			a.Events[0].Payload = large
		}
		eventstoretest.Must(t, s, a)
	}
	count, bytes, err := s.FeedPage(t.Context(), 0)
	require.NoError(t, err)
	require.Greater(t, count, 1)
	require.Less(t, bytes, 4<<20+2*eventstore.MaxEventBytes)
	require.Equal(t, eventstoretest.All(t, s), receive(t, s, "g", events))
}

// A link that breaks while events are acknowledged brings none of them again, as long as the subscription lives.
func TestABrokenLinkRepeatsNothing(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pool := pgtest.Connect(t, url)
	require.NoError(t, migrations.Up(t.Context(), pool))
	proxy, proxied := pgtest.NewProxy(t, url)
	other := openPool(t, pool, pg.Options{})
	events := messages(t, openPool(t, pgtest.Connect(t, proxied), pg.Options{PollInterval: 20 * time.Millisecond}), "g")
	for n := range 30 {
		eventstoretest.Must(t, other, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, n))
		r, m := take(t, events)
		require.Equal(t, int64(n+1), r.Position)
		if n%10 == 5 {
			proxy.Cut()
		}
		m.Ack()
	}
}

func TestASubscriberHasOneSubscription(t *testing.T) {
	t.Parallel()
	sub, err := openPool(t, pgtest.Pool(t), pg.Options{}).Subscriber("g")
	require.NoError(t, err)
	defer func() { require.NoError(t, sub.Close()) }()
	_, err = sub.Subscribe(t.Context(), "other")
	require.Error(t, err)
	_, err = sub.Subscribe(t.Context(), pg.Topic)
	require.NoError(t, err)
	_, err = sub.Subscribe(t.Context(), pg.Topic)
	require.Error(t, err)
}

// Each event comes alone and is acknowledged before the next one: the place is written as often as its turn comes, and soon
// after the last one it is where the log ends.
func TestTheGroupsPlaceIsWrittenInTurns(t *testing.T) {
	t.Parallel()
	const events = 200
	pool := pgtest.Pool(t)
	_, err := pool.Exec(t.Context(), `
		CREATE TABLE written (position bigint);
		CREATE FUNCTION note_written() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN INSERT INTO written VALUES (NEW.position); RETURN NULL; END $$;
		CREATE TRIGGER note_written AFTER UPDATE ON consumer_offsets FOR EACH ROW EXECUTE FUNCTION note_written()`)
	require.NoError(t, err)
	s := openPool(t, pool, pg.Options{PollInterval: time.Hour})
	began := time.Now()
	messages := subscribe(t, s, "g")
	for n := range events {
		eventstoretest.Must(t, s, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, n))
		await(t, messages, int64(n+1), time.Minute)
	}
	var last, writes int64
	require.Eventually(t, func() bool {
		err := pool.QueryRow(t.Context(), `SELECT coalesce(max(position), 0), count(*) FROM written`).Scan(&last, &writes)
		return err == nil && last == events
	}, time.Minute, 10*time.Millisecond)
	require.LessOrEqual(t, writes, int64(time.Since(began)/pg.NoteEvery)+2)
}

// What was read of the log as it was does not move the group in the log as it is.
func TestAPlaceInAnotherEpochOfTheLogIsNotWritten(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	s := openPool(t, pool, pg.Options{})
	sub, err := s.Subscriber("g")
	require.NoError(t, err)
	defer func() { require.NoError(t, sub.Close()) }()
	messages, err := sub.Subscribe(t.Context(), pg.Topic)
	require.NoError(t, err)
	isAt := func(position int64) bool {
		var now int64
		err := pool.QueryRow(t.Context(), `SELECT position FROM consumer_offsets WHERE consumer_group = 'g'`).Scan(&now)
		return err == nil && now == position
	}
	eventstoretest.Must(t, s, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 1))
	(<-messages).Ack()
	require.Eventually(t, func() bool { return isAt(1) }, time.Minute, 10*time.Millisecond)
	eventstoretest.Must(t, s, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 2))
	late := <-messages
	_, err = pool.Exec(t.Context(), `UPDATE log SET epoch = epoch + 1`)
	require.NoError(t, err)
	late.Ack()
	require.Never(t, func() bool { return isAt(2) }, 3*pg.NoteEvery, 20*time.Millisecond)
	require.True(t, isAt(1))
}
