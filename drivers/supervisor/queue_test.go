package supervisor

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
)

func TestAStreamIsInTheQueueOnceAndKeepsItsCause(t *testing.T) {
	t.Parallel()
	q := newQueue()
	cause := uuid.New()
	q.add("a", cause)
	q.add("a", uuid.Nil)
	q.add("b", uuid.Nil)
	stream, got, ok := q.take()
	require.True(t, ok)
	require.Equal(t, eventstore.Stream("a"), stream)
	require.Equal(t, cause, got)
	stream, _, _ = q.take()
	require.Equal(t, eventstore.Stream("b"), stream)
	require.Empty(t, q.ready)
}

func TestAStreamAskedForDuringItsStepComesAgainAfterIt(t *testing.T) {
	t.Parallel()
	q := newQueue()
	q.add("a", uuid.Nil)
	q.take()
	q.add("a", uuid.Nil)
	q.add("a", uuid.Nil)
	require.Empty(t, q.ready)
	q.done("a")
	require.Len(t, q.ready, 1)
	q.take()
	q.done("a")
	require.Empty(t, q.ready)
	require.False(t, q.has("a"))
}

func TestAStreamHasOneAlarmTheEarliest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.addAfter("a", uuid.Nil, time.Hour)
		q.addAfter("a", uuid.Nil, time.Minute)
		q.addAfter("a", uuid.Nil, 2*time.Minute)
		<-time.After(time.Minute)
		synctest.Wait()
		require.Len(t, q.ready, 1)
		q.take()
		q.done("a")
		<-time.After(2 * time.Hour)
		synctest.Wait()
		require.Empty(t, q.ready)
		q.addAfter("a", uuid.Nil, time.Minute)
		q.close()
		<-time.After(time.Hour)
		synctest.Wait()
		require.Empty(t, q.ready)
		require.Empty(t, q.alarms)
	})
}

func TestWhatStartsAfterEverythingWasToldToEndIsToldAsWell(t *testing.T) {
	t.Parallel()
	r := newRunning(slog.New(slog.DiscardHandler))
	before, after, leased := domain.ExecID{UUID: uuid.New()}, domain.ExecID{UUID: uuid.New()}, domain.LeaseID{UUID: uuid.New()}
	r.expect(before, leased)
	r.kill(t.Context(), before, "first")
	r.killAll(t.Context(), "engine_shutdown")
	r.expect(after, leased)
	require.Equal(t, "first", r.killed(before))
	require.Equal(t, "engine_shutdown", r.started(after, nil))
	r.remove(before)
	require.Empty(t, r.killed(before))
	require.Nil(t, r.kill(t.Context(), before, "late"))
	require.Equal(t, 1, r.count())
}

func TestNoStreamIsWorkedOnTwiceAtOnceAndNoWakeUpIsLost(t *testing.T) {
	t.Parallel()
	const streams, rounds = 8, 500
	q := newQueue()
	names := []eventstore.Stream{"a", "b", "c", "d", "e", "f", "g", "h"}
	var busy, asked, seen [streams]atomic.Int64
	var workers, askers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for {
				s, _, ok := q.take()
				if !ok {
					return
				}
				n := s[0] - 'a'
				if busy[n].Add(1) != 1 {
					t.Error("two steps of one stream")
				}
				seen[n].Store(asked[n].Load())
				busy[n].Add(-1)
				q.done(s)
			}
		})
		askers.Go(func() {
			for i := range rounds {
				n := i % streams
				asked[n].Add(1)
				if i%3 == 0 {
					q.addAfter(names[n], uuid.Nil, 0)
				}
				q.add(names[n], uuid.Nil)
			}
		})
	}
	askers.Wait()
	require.Eventually(t, func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return len(q.entries) == 0 && len(q.alarms) == 0
	}, time.Minute, time.Millisecond)
	q.close()
	workers.Wait()
	for n := range streams {
		require.Equal(t, asked[n].Load(), seen[n].Load())
	}
}
