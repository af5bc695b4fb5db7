package supervisor_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

func (w *world) retire(id domain.EnvironmentID, how commands.Retirement) error {
	_, err := w.client.RetireEnvironment(w.Context(), commands.Caller{}, id, how)
	return err
}

func (w *world) isEnvironment(want environment.Status, id domain.EnvironmentID) {
	w.Helper()
	w.settled()
	env, err := eventstore.Load(w.Context(), w.client.Ledger(), commands.Environments, id.UUID)
	require.NoError(w, err)
	require.Equal(w, want, env.State.Status)
}

func TestAnEnvironmentThatIsEndedByForceTakesItsLeasesDownFirst(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		env := w.register("fake", 2)
		active, other, queued := w.acquire(in(env)), w.acquire(in(env)), w.acquire(in(env))
		w.isLease(lease.StatusActive, active)
		w.isLease(lease.StatusRequested, queued)
		refused := w.retire(env, commands.Retirement{Delete: true})
		r, ok := errors.AsType[*domain.Refusal](refused)
		require.True(t, ok)
		require.Len(t, r.Blockers, 3)
		require.NoError(t, w.retire(env, commands.Retirement{Delete: true, Force: true}))
		w.pass(time.Second)
		for _, id := range []domain.LeaseID{active, other} {
			w.isLease(lease.StatusReleased, id)
		}
		require.True(t, w.lease(queued).Status().Ended())
		w.isEnvironment(environment.StatusDeleted, env)
		require.Empty(t, w.driver.Live())
	})
}

// What was asked for once may be asked for again, also without force: nothing stands in its way any more.
func TestAnEndingIsAskedForAgain(t *testing.T) {
	t.Parallel()
	for _, remove := range []bool{false, true} {
		t.Run(map[bool]string{false: "archive", true: "delete"}[remove], func(t *testing.T) {
			inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
				id := w.acquire()
				require.NoError(t, w.retire(w.environment, commands.Retirement{Delete: remove, Force: true}))
				before := w.names(commands.Environments.Stream(w.environment.UUID))
				require.NoError(t, w.retire(w.environment, commands.Retirement{Delete: remove}))
				require.Equal(t, before, w.names(commands.Environments.Stream(w.environment.UUID)))
				w.start(supervisor.Options{})
				w.pass(time.Second)
				require.True(t, w.lease(id).Status().Ended())
				w.isEnvironment(map[bool]environment.Status{false: environment.StatusArchived, true: environment.StatusDeleted}[remove], w.environment)
			})
		})
	}
}

func TestALeaseThatCannotBeTakenDownIsOnRecordAndHoldsItsEnvironmentNotUp(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeRelease: func(context.Context, drivers.ReleaseRequest) error {
		if broken.Load() {
			return errors.New("busy")
		}
		return nil
	}}}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		require.NoError(t, w.retire(w.environment, commands.Retirement{Force: true}))
		w.pass(5 * time.Second)
		w.isLease(lease.StatusPendingCleanup, id)
		w.isEnvironment(environment.StatusArchived, w.environment)
		broken.Store(false)
		w.pass(2 * time.Minute)
		w.isLease(lease.StatusReleased, id)
		require.Empty(t, w.driver.Live())
	})
}

func TestARetirementGoesOnAfterTheDeathOfItsProcess(t *testing.T) {
	g := newGateIn(t)
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeRelease: func(context.Context, drivers.ReleaseRequest) error {
		select {
		case at := <-g:
			at.endure()
		default:
		}
		return nil
	}}}, func(t *testing.T, w *world) {
		slow := newGate()
		a := w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		g <- slow
		require.NoError(t, w.retire(w.environment, commands.Retirement{Delete: true, Force: true}))
		w.pass(time.Second)
		w.isEnvironment(environment.StatusDeleting, w.environment)
		a.crash()
		w.start(supervisor.Options{})
		w.pass(within + time.Second)
		w.isLease(lease.StatusReleased, id)
		w.isEnvironment(environment.StatusDeleted, w.environment)
		slow.open()
		a.stop()
	})
}
