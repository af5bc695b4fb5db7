package eventstore_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/memory"
	"github.com/tenure-dev/tenure/eventstore/vault"
)

// hasty is a log whose feed is faster than the answer to an append.
type hasty struct {
	counted
	feed func(eventstore.Recorded)
	// lost makes the answer one of an unknown outcome.
	lost bool
}

func (s *hasty) Submit(a eventstore.Append) eventstore.Pending {
	head, err := s.Head(context.Background())
	if err != nil {
		panic(err)
	}
	pending := s.Store.Submit(a)
	if _, err := pending.Wait(context.Background()); err != nil {
		return pending
	}
	page, err := s.ReadAll(context.Background(), head.Position, 0)
	if err != nil {
		panic(err)
	}
	for _, r := range page {
		s.feed(r)
	}
	if s.lost {
		return lost{}
	}
	return pending
}

// lost is an append of which nobody knows what became.
type lost struct{}

func (lost) Wait(context.Context) (eventstore.Result, error) {
	return eventstore.Result{}, eventstore.ErrUnknownOutcome
}

func TestAFeedThatIsFasterThanAnAppendMakesNobodyRead(t *testing.T) {
	t.Parallel()
	log := &hasty{counted: counted{Store: memory.New()}}
	one := eventstore.NewLedger(log)
	log.feed = one.Note
	var heard []int64
	one.Heed(func(r eventstore.Recorded) {
		id, err := r.Stream.ID()
		require.NoError(t, err)
		reads, _ := log.read(func() { require.Equal(t, r.Version, recall(t, one, domain.KeyID{UUID: id}).Version) })
		require.Zero(t, reads)
		heard = append(heard, r.Version)
	})
	revoke(t, one, addKey(t, one))
	require.Equal(t, []int64{1, 2}, heard)
}

func TestWhatTheFeedToldOfAnAppendWithoutAnAnswerIsHeard(t *testing.T) {
	t.Parallel()
	log := &hasty{counted: counted{Store: memory.New()}}
	one := eventstore.NewLedger(log)
	log.feed = one.Note
	id := addKey(t, one)
	var heard []eventstore.Recorded
	one.Heed(func(r eventstore.Recorded) { heard = append(heard, r) })
	log.lost = true
	_, err := commands.New(one, vault.InMemory()).RevokeKey(t.Context(), commands.Caller{}, id)
	require.ErrorIs(t, err, eventstore.ErrUnknownOutcome)
	require.Equal(t, []eventstore.Recorded{last(t, log)}, heard)
	require.Equal(t, int64(2), recall(t, one, id).Version)
}
