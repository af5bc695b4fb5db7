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
