package eventstoretest

import (
	"context"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
)

// owned is an append of one event by the owner of a partition.
func owned(stream eventstore.Stream, p eventstore.Partition) eventstore.Append {
	a := One(stream, eventstore.Any, p.N)
	a.Owner = &eventstore.Ownership{Partition: p.N, Epoch: p.Epoch}
	return a
}

// take makes a new worker the owner of a partition.
func take(t *testing.T, s eventstore.Store, n int) eventstore.Partition {
	t.Helper()
	parts := s.(eventstore.Partitioning)
	all, err := parts.Partitions(t.Context())
	require.NoError(t, err)
	require.Len(t, all, eventstore.PartitionCount)
	worker := domain.WorkerID{UUID: uuid.New()}
	taken, err := parts.TakePartitions(t.Context(), worker, all[n:n+1])
	require.NoError(t, err)
	require.Equal(t, []eventstore.Partition{{N: n, Owner: worker, Epoch: all[n].Epoch + 1}}, taken)
	return taken[0]
}

func formerOwner(t *testing.T, s eventstore.Store) {
	stream := NewStream()
	first, other := take(t, s, 3), take(t, s, 4)
	kept := owned(stream, first)
	Must(t, s, kept)
	Must(t, s, One(stream, eventstore.Any, 0)) // nobody's
	second := take(t, s, 3)
	_, err := Do(t, s, owned(stream, first))
	require.ErrorIs(t, err, eventstore.ErrNotOwner)
	refusal, ok := err.(*domain.Refusal) //nolint:errorlint // it is the answer itself
	require.True(t, ok)
	require.Equal(t, domain.KindStale, refusal.Kind)
	require.Equal(t, "not_owner", refusal.Code)
	r := Must(t, s, kept)
	require.True(t, r.Replayed, "what it appended before is not undone")
	Must(t, s, owned(stream, second))
	Must(t, s, owned(stream, other))
	require.Len(t, All(t, s), 4)

	// The one who is refused holds nobody up, with inputs and several events too.
	long := owned(NewStream(), first)
	long.Events = append(long.Events, Event(long.Events[0].Stream, 2))
	long.Inputs = []eventstore.Input{{ID: uuid.New(), Subject: stream, Value: []byte("x")}}
	neighbour := long
	neighbour.ID, neighbour.Owner = uuid.New(), &eventstore.Ownership{Partition: second.N, Epoch: second.Epoch}
	neighbour.Inputs = []eventstore.Input{{ID: uuid.New(), Subject: stream, Value: []byte("y")}}
	bad, good := s.Submit(long), s.Submit(neighbour)
	_, err = bad.Wait(t.Context())
	require.ErrorIs(t, err, eventstore.ErrNotOwner)
	_, err = good.Wait(t.Context())
	require.NoError(t, err)
	_, err = s.ReadInput(t.Context(), long.Inputs[0].ID)
	require.ErrorIs(t, err, eventstore.ErrNoInput)
	bytes, err := s.ReadInput(t.Context(), neighbour.Inputs[0].ID)
	require.NoError(t, err)
	require.Equal(t, []byte("y"), bytes.Value)

	notThere := owned(stream, eventstore.Partition{N: eventstore.PartitionCount})
	_, err = Do(t, s, notThere)
	require.ErrorIs(t, err, eventstore.ErrInvalid)
}

// ownerOfBefore begins another epoch of the log under an owner: what was decided as owner before counts no more, also once as
// many have taken the partition as before. Who is the owner stays so.
func ownerOfBefore(t *testing.T, s eventstore.Store, later func(*testing.T, eventstore.Store)) {
	parts := s.(eventstore.Partitioning)
	var former []eventstore.Partition
	for range 3 {
		former = append(former, take(t, s, 3))
	}
	refused := func() {
		for _, p := range former {
			_, err := Do(t, s, owned(NewStream(), p))
			require.ErrorIs(t, err, eventstore.ErrNotOwner)
		}
	}
	Must(t, s, owned(NewStream(), former[2]))
	later(t, s)
	refused()
	all, err := parts.Partitions(t.Context())
	require.NoError(t, err)
	now := all[3]
	require.Equal(t, former[2].Owner, now.Owner)
	Must(t, s, owned(NewStream(), now))
	for range 3 {
		former = append(former, now)
		now = take(t, s, 3)
		refused()
		Must(t, s, owned(NewStream(), now))
	}
	taken, err := parts.TakePartitions(t.Context(), former[0].Owner, []eventstore.Partition{former[0]})
	require.NoError(t, err)
	require.Empty(t, taken, "it was looked at in another epoch")
}

// oneOwner lets many take the same partitions at once.
func oneOwner(t *testing.T, s eventstore.Store) {
	parts := s.(eventstore.Partitioning)
	all, err := parts.Partitions(t.Context())
	require.NoError(t, err)
	var mu sync.Mutex
	got := map[int]domain.WorkerID{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			worker := domain.WorkerID{UUID: uuid.New()}
			taken, err := parts.TakePartitions(context.WithoutCancel(t.Context()), worker, all)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			for _, p := range taken {
				if !got[p.N].IsZero() {
					t.Errorf("two took partition %d", p.N)
				}
				got[p.N] = p.Owner
			}
		})
	}
	wg.Wait()
	require.Len(t, got, eventstore.PartitionCount)
	now, err := parts.Partitions(t.Context())
	require.NoError(t, err)
	for _, p := range now {
		require.Equal(t, got[p.N], p.Owner)
		require.Equal(t, int64(1), p.Epoch)
	}
}

// lastWord lets an owner append without a pause while it loses its partition: nothing of it comes after that.
func lastWord(t *testing.T, s eventstore.Store) {
	for n := range 5 {
		p := take(t, s, n)
		stream := NewStream()
		Must(t, s, owned(stream, p))
		begun, done := make(chan struct{}), make(chan error)
		go func() {
			for i := range 100_000 { // it is over long before
				_, err := Do(t, s, owned(stream, p))
				if i == 5 {
					close(begun)
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		<-begun
		take(t, s, n)
		last := len(All(t, s))
		require.ErrorIs(t, <-done, eventstore.ErrNotOwner)
		require.Len(t, All(t, s), last)
	}
}
