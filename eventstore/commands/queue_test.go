package commands_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/memory"
	"github.com/tenure-dev/tenure/eventstore/vault"
)

// slots adds an environment with so many.
func (w *world) slots(n int) domain.EnvironmentID {
	w.Helper()
	id := domain.EnvironmentID{UUID: uuid.New()}
	_, err := w.commands.RegisterEnvironment(w.Context(), commands.Caller{}, id, environment.Registered{
		Company: w.own, Name: id.String(), Driver: "noop", MaxLeases: n,
	}, commands.NoSecretFields)
	require.NoError(w, err)
	return id
}

func (w *world) ask(env domain.EnvironmentID, change func(*commands.Acquire)) (domain.LeaseID, error) {
	a := commands.Acquire{
		Lease: domain.LeaseID{UUID: uuid.New()}, Company: w.own, Environment: env, Run: "run", Policy: lease.PolicyEphemeral,
		TTL: time.Hour, IdleTimeout: time.Hour, Provider: func(driver string, _ json.RawMessage) string { return driver },
	}
	if change != nil {
		change(&a)
	}
	_, err := w.commands.AcquireLease(w.Context(), commands.Caller{}, a)
	return a.Lease, err
}

func (w *world) lease(id domain.LeaseID) lease.State {
	w.Helper()
	l, err := w.commands.Lease(w.Context(), id)
	require.NoError(w, err)
	return l
}

// A grant and the end of the wait at once: one of them happens, and the slot is taken or free accordingly.
func TestAGrantAndTheEndOfTheWaitHaveOneOutcome(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	outcomes := map[lease.Status]int{}
	for range 60 {
		env := w.slots(1)
		holder, err := w.ask(env, nil)
		require.NoError(t, err)
		waits, err := w.ask(env, func(a *commands.Acquire) { a.Queue.TimeoutMs = 1 })
		require.NoError(t, err)
		require.Equal(t, lease.StatusRequested, w.lease(waits).Status())
		<-time.After(2 * time.Millisecond)
		var race sync.WaitGroup
		race.Go(func() {
			if _, err := w.commands.CancelLease(w.Context(), commands.Caller{}, holder, ""); err != nil {
				t.Error(err)
			}
		})
		race.Go(func() {
			if _, err := w.commands.TimeOutLease(w.Context(), commands.Caller{}, waits); err != nil {
				t.Error(err)
			}
		})
		race.Wait()
		l := w.lease(waits)
		outcomes[l.Status()]++
		view, err := w.commands.ViewQueue(t.Context(), env, 0, domain.LeaseID{})
		require.NoError(t, err)
		require.Zero(t, view.Queued)
		switch l.Status() {
		case lease.StatusGranted:
			require.Equal(t, []commands.Holder{{Lease: waits, Slot: 1}}, view.Holders)
			require.Equal(t, admission.RuleOnly, l.GrantRule)
		case lease.StatusFailed:
			require.Equal(t, lease.CodeQueueTimeout, l.FailureCode)
			require.Empty(t, view.Holders)
		default:
			t.Fatalf("it is %s", l.Status())
		}
	}
	t.Logf("%v", outcomes)
}

// Requests count for their agent unless they say for whom.
func TestRequestsOfAgentsTakeTurns(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	env := w.slots(1)
	_, err := w.ask(env, nil)
	require.NoError(t, err)
	of := func(agent, key string) domain.LeaseID {
		id, err := w.ask(env, func(a *commands.Acquire) { a.Context.Agent, a.Queue.Key = agent, key })
		require.NoError(t, err)
		return id
	}
	a1, a2, b1 := of("a", ""), of("a", ""), of("b", "")
	view, err := w.commands.ViewQueue(t.Context(), env, 0, domain.LeaseID{})
	require.NoError(t, err)
	require.Equal(t, []domain.LeaseID{a1, b1, a2}, []domain.LeaseID{view.Places[0].Lease, view.Places[1].Lease, view.Places[2].Lease})
	c1 := of("b", "c")
	view, err = w.commands.ViewQueue(t.Context(), env, 1, c1)
	require.NoError(t, err)
	require.Equal(t, c1, view.Places[len(view.Places)-1].Lease, "whoever is asked for is in it")
	require.Equal(t, "c", view.Places[len(view.Places)-1].Key)
}

// What is refused for want of room leaves nothing in the log.
func TestARefusedRequestLeavesNothing(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	env := w.slots(1)
	_, err := w.ask(env, func(a *commands.Acquire) { a.NoWait = true })
	require.NoError(t, err)
	before, err := w.store.Head(t.Context())
	require.NoError(t, err)
	_, err = w.ask(env, func(a *commands.Acquire) { a.NoWait = true })
	_ = refused(t, err, "no_capacity_now")
	var busy *commands.BusyError
	require.ErrorAs(t, err, &busy)
	require.Equal(t, env, busy.Environment)
	after, err := w.store.Head(t.Context())
	require.NoError(t, err)
	require.Equal(t, before.Position, after.Position)
}

// slowStore lets an append begin only when it is let go.
type slowStore struct {
	eventstore.Store
	mu   sync.Mutex
	hold chan struct{}
	held chan struct{}
}

func (s *slowStore) Submit(a eventstore.Append) eventstore.Pending {
	s.mu.Lock()
	hold := s.hold
	s.mu.Unlock()
	if hold == nil {
		return s.Store.Submit(a)
	}
	return slowPending{func() eventstore.Pending {
		s.held <- struct{}{}
		<-hold
		return s.Store.Submit(a)
	}}
}

type slowPending struct{ begin func() eventstore.Pending }

func (p slowPending) Wait(ctx context.Context) (eventstore.Result, error) { return p.begin().Wait(ctx) }

// A crowd that is refused holds nobody up who gives a slot back, and is not held up: after the first one they only look.
func TestWhoIsRefusedForWantOfRoomIsInNobodysWay(t *testing.T) {
	t.Parallel()
	store := &slowStore{Store: memory.New(), held: make(chan struct{}, 1)}
	w := newWorld(t, store, vault.InMemory())
	env := w.slots(1)
	holder, err := w.ask(env, nil)
	require.NoError(t, err)
	noWait := func(a *commands.Acquire) { a.NoWait = true }
	_, err = w.ask(env, noWait)
	_ = refused(t, err, "no_capacity_now")

	// A slot is being given back, which takes its time.
	hold := make(chan struct{})
	store.mu.Lock()
	store.hold = hold
	store.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		_, err := w.commands.CancelLease(context.Background(), commands.Caller{}, holder, "")
		done <- err
	}()
	<-store.held
	for range 20 {
		_, err = w.ask(env, noWait)
		_ = refused(t, err, "no_capacity_now")
	}
	store.mu.Lock()
	store.hold = nil
	store.mu.Unlock()
	close(hold)
	require.NoError(t, <-done)
	_, err = w.ask(env, noWait)
	require.NoError(t, err, "the slot is free in the log now")

	// Who may not see the environment is not told that it is full.
	_, err = w.commands.AcquireLease(t.Context(), commands.Caller{}, commands.Acquire{
		Lease: domain.LeaseID{UUID: uuid.New()}, Company: w.others, Environment: env, Run: "run", NoWait: true,
	})
	_ = refused(t, err, "environment_not_found")
}
