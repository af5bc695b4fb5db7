package pg_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// Case A16 below the API: fifty at once want one slot through two processes that take their time between reading and
// writing. At no version are there two holders, and each has its turn.
func TestOneSlotNeverHasTwoHoldersHoweverLongDecidersTake(t *testing.T) {
	t.Parallel()
	const rounds, clients, atOnce = 200, 50, 50
	pool := pgtest.Pool(t)
	ledgers := make([]*eventstore.Ledger, 2)
	for i := range ledgers {
		ledgers[i] = eventstore.NewLedger(openPool(t, pool, pg.Options{}))
	}
	act := func(l *eventstore.Ledger, env uuid.UUID, cmd admission.Command) bool {
		_, err := eventstore.Execute(context.Background(), l, eventstore.Options{}, func(ctx context.Context, w *eventstore.Work) error {
			w.Company(eventstoretest.Company)
			_, err := eventstore.Act(ctx, w, commands.Admissions, env, cmd)
			<-time.After(rand.N(50 * time.Millisecond))
			return err
		})
		return assert.NoError(t, err)
	}
	round := func() {
		env := uuid.New()
		if !act(ledgers[0], env, admission.Open{Capacity: 1}) {
			return
		}
		var group sync.WaitGroup
		for n := range clients {
			group.Go(func() {
				id := domain.LeaseID{UUID: uuid.New()}
				if act(ledgers[n%2], env, admission.Enter{Lease: id}) {
					act(ledgers[(n+1)%2], env, admission.Leave{Lease: id})
				}
			})
		}
		group.Wait()
		events, err := ledgers[0].Store().ReadStream(t.Context(), commands.Admissions.Stream(env), 0, 0)
		if err != nil {
			t.Error(err)
			return
		}
		state := commands.Admissions.Decider.Initial()
		for _, e := range events {
			state, err = commands.Admissions.Fold(state, []eventstore.Recorded{e})
			if err != nil {
				t.Error(err)
				return
			}
			assert.LessOrEqual(t, len(state.Holders), 1, "at version %d", e.Version)
		}
		assert.Empty(t, state.Holders)
		assert.Zero(t, state.Queued())
	}
	next := make(chan struct{}, rounds)
	for range rounds {
		next <- struct{}{}
	}
	close(next)
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for range next {
				round()
			}
		})
	}
	workers.Wait()
}
