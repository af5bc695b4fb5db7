package eventstore_test

import (
	"context"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/memory"
)

// admit acts on the admission of an environment; spoil refuses what was decided.
func admit(l *eventstore.Ledger, env uuid.UUID, spoil bool, cmd admission.Command) error {
	_, err := eventstore.Execute(context.Background(), l, eventstore.Options{}, func(ctx context.Context, w *eventstore.Work) error {
		if _, err := eventstore.Act(ctx, w, commands.Admissions, env, cmd); err != nil || !spoil {
			return err
		}
		return domain.Refuse(domain.KindConflict, "planned", "planned")
	})
	return err
}

func enter() admission.Command { return admission.Enter{Lease: domain.LeaseID{UUID: uuid.New()}} }

// An admission's stream is as long as the life of its environment.
func TestABrokenChainOfDecisionsReadsOnlyWhatIsNew(t *testing.T) {
	t.Parallel()
	const long = 3*eventstore.PageSize + 7
	one, log, other := processes()
	env := uuid.New()
	require.NoError(t, admit(other, env, false, admission.Open{}))
	for range long {
		require.NoError(t, admit(other, env, false, enter()))
	}
	_, events := log.read(func() { require.NoError(t, admit(one, env, false, enter())) })
	require.Equal(t, int64(long+1), events, "it is read once")

	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if err := admit(one, env, false, enter()); err != nil {
				t.Error(err)
			}
		})
	}
	_, events = log.read(all.Wait)
	require.Zero(t, events)

	for _, breaks := range []struct {
		how   string
		do    func() error
		fresh int64
	}{
		{"a decision that comes to nothing", func() error { _ = admit(one, env, true, enter()); return nil }, 0},
		{"an event of another process", func() error { return admit(other, env, false, enter()) }, 1},
	} {
		require.NoError(t, breaks.do())
		reads, events := log.read(func() { require.NoError(t, admit(one, env, false, enter())) })
		require.Equal(t, breaks.fresh, events, "%s, in %d reads", breaks.how, reads)
	}

	now, err := eventstore.Load(t.Context(), one, commands.Admissions, env)
	require.NoError(t, err)
	slots := map[int]bool{}
	for _, slot := range now.State.Holders {
		slots[slot] = true
	}
	require.Len(t, now.State.Holders, long+1+50+2+1)
	require.Len(t, slots, len(now.State.Holders), "each has a slot of its own")
}

// cut ends reads in the middle.
type cut struct {
	*counted
	left int
}

func (s *cut) ReadStream(ctx context.Context, stream eventstore.Stream, after int64, limit int) ([]eventstore.Recorded, error) {
	if s.left == 0 {
		return nil, eventstore.ErrUnavailable
	}
	s.left--
	return s.counted.ReadStream(ctx, stream, after, limit)
}

func TestAReadingThatIsCutGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	log := &cut{counted: &counted{Store: memory.New()}, left: 2}
	other := eventstore.NewLedger(log.Store)
	env := uuid.New()
	require.NoError(t, admit(other, env, false, admission.Open{}))
	for range 3 * eventstore.PageSize {
		require.NoError(t, admit(other, env, false, enter()))
	}
	one := eventstore.NewLedger(log)
	require.ErrorIs(t, admit(one, env, false, enter()), eventstore.ErrUnavailable)
	log.left = 10
	_, events := log.read(func() { require.NoError(t, admit(one, env, false, enter())) })
	require.Equal(t, int64(eventstore.PageSize+1), events)
}
