package eventstoretest

import (
	"context"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/eventstore"
)

var (
	runtimes   = &eventstore.Kind[runtime.State, runtime.Command, runtime.Event]{Category: runtime.Category, Decider: runtime.Decider, Codec: runtime.Codec}
	admissions = &eventstore.Kind[admission.State, admission.Command, admission.Event]{
		Category: admission.Category, Decider: admission.Decider, Codec: admission.Codec, Contended: true, Clone: admission.State.Clone,
	}
)

// ledgerRace: of many ledgers (processes) that give one runtime to a lease each, one wins; the others are refused on the
// state that the winner left.
func ledgerRace(t *testing.T, s eventstore.Store) {
	id := uuid.New()
	lease := domain.LeaseID{UUID: uuid.New()}
	_, err := eventstore.Execute(t.Context(), eventstore.NewLedger(s), eventstore.Options{}, func(ctx context.Context, w *eventstore.Work) error {
		w.Company(Company)
		_, err := eventstore.Act(ctx, w, runtimes, id, runtime.Command(runtime.Intend{Intended: runtime.Intended{Company: Company, Lease: lease}}))
		return err
	})
	require.NoError(t, err)
	var wg sync.WaitGroup
	var mu sync.Mutex
	changed, silent := 0, 0
	for range 10 {
		wg.Go(func() {
			out, err := eventstore.Execute(context.Background(), eventstore.NewLedger(s), eventstore.Options{}, func(ctx context.Context, w *eventstore.Work) error {
				_, err := eventstore.Act(ctx, w, runtimes, id, runtime.Command(runtime.Hold{Lease: lease}))
				return err
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if out.Changed {
				changed++
			} else {
				silent++
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, changed)
	require.Equal(t, 9, silent)
}

// ledgerContended: many commands on one admission through two ledgers, some refused in the middle; none is lost or doubled.
func ledgerContended(t *testing.T, s eventstore.Store) {
	env := uuid.New()
	ledgers := []*eventstore.Ledger{eventstore.NewLedger(s), eventstore.NewLedger(s)}
	act := func(l *eventstore.Ledger, fail bool, cmd admission.Command) error {
		_, err := eventstore.Execute(context.Background(), l, eventstore.Options{}, func(ctx context.Context, w *eventstore.Work) error {
			w.Company(Company)
			if _, err := eventstore.Act(ctx, w, admissions, env, cmd); err != nil {
				return err
			}
			if fail {
				return domain.Refuse(domain.KindConflict, "planned", "planned")
			}
			return nil
		})
		return err
	}
	require.NoError(t, act(ledgers[0], false, admission.Open{Capacity: 5}))
	const leases = 60
	var wg sync.WaitGroup
	for n := range leases {
		wg.Go(func() {
			l := ledgers[n%2]
			id := domain.LeaseID{UUID: uuid.New()}
			if err := act(l, true, admission.Enter{Lease: id}); err == nil {
				t.Error("a refusal was lost")
			}
			if err := act(l, false, admission.Enter{Lease: id}); err != nil {
				t.Error(err)
			}
			if n%3 == 0 {
				if err := act(l, false, admission.Leave{Lease: id}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	end, err := eventstore.Load(t.Context(), ledgers[0], admissions, env)
	require.NoError(t, err)
	require.Len(t, end.State.Holders, 5)
	require.Len(t, end.State.Queue(), leases-leases/3-5)
	slots := map[int]bool{}
	for _, slot := range end.State.Holders {
		require.False(t, slots[slot], "slot %d has two holders", slot)
		slots[slot] = true
	}
}
