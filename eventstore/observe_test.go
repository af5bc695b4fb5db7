package eventstore_test

import (
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

// Who only looks sees the log as it is now, with its times, however many look and whoever appends meanwhile.
func TestWhoLooksAtAContendedStreamSeesWhatTheLogSays(t *testing.T) {
	t.Parallel()
	store := memory.New()
	one, other := eventstore.NewLedger(store), eventstore.NewLedger(store)
	env := uuid.New()
	require.NoError(t, admit(one, env, false, admission.Open{Capacity: 1}))
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			cmd := enter().(admission.Enter)
			if err := admit(one, env, false, cmd); err != nil {
				t.Error(err)
			}
			if err := admit(other, env, false, admission.Leave{Lease: cmd.Lease}); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			if err := eventstore.Observe(t.Context(), other, commands.Admissions, env, func(l eventstore.Loaded[admission.State]) {
				l.State.Order(0, domain.LeaseID{})
			}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	want, err := eventstore.Load(t.Context(), one, commands.Admissions, env)
	require.NoError(t, err)
	for _, l := range []*eventstore.Ledger{one, other, one} {
		require.NoError(t, eventstore.Observe(t.Context(), l, commands.Admissions, env, func(got eventstore.Loaded[admission.State]) {
			require.Equal(t, want, got)
		}))
	}
}

// A state that was pushed out by others is read anew.
func TestWhoLooksAtManyStreamsSeesEachAsItIs(t *testing.T) {
	t.Parallel()
	l := eventstore.NewLedger(memory.New())
	envs := make([]uuid.UUID, 70)
	for i := range envs {
		envs[i] = uuid.New()
		require.NoError(t, admit(l, envs[i], false, admission.Open{Capacity: i}))
	}
	for range 2 {
		for i, env := range envs {
			require.NoError(t, eventstore.Observe(t.Context(), l, commands.Admissions, env, func(got eventstore.Loaded[admission.State]) {
				require.Equal(t, i, got.State.Capacity)
			}))
		}
	}
}
