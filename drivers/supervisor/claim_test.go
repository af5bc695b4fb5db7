package supervisor_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore"
)

// pausedAfter stops a process in the middle of a step: it appends the event and then neither goes on nor says that it lives,
// until the function returned wakes it.
func (n *node) pausedAfter(event domain.Event) (wake func()) {
	asleep := newGate()
	var once atomic.Bool
	pause := func(a eventstore.Append) {
		if a.Events[0].Name == event.EventName() && once.CompareAndSwap(false, true) {
			n.w.processes.Silence(n.process.ID)
			asleep.endure()
		}
	}
	n.link.after.Store(&pause)
	return func() {
		n.w.processes.Speak(n.process.ID)
		asleep.open()
	}
}

// called counts the calls of a driver by verb.
type called struct{ acquire, release, exec atomic.Int64 }

func (c *called) hooks() fake.Hooks {
	return fake.Hooks{
		BeforeAcquire: func(context.Context, drivers.AcquireRequest) error { c.acquire.Add(1); return nil },
		BeforeRelease: func(context.Context, drivers.ReleaseRequest) error { c.release.Add(1); return nil },
		BeforeExec:    func(context.Context, drivers.ExecRequest) error { c.exec.Add(1); return nil },
	}
}

func TestAWorkerThatWasPausedAfterItsClaimMakesNothingOnceAnotherTookOver(t *testing.T) {
	var calls called
	inWorld(t, fake.Options{Hooks: calls.hooks()}, func(t *testing.T, w *world) {
		a := w.start(supervisor.Options{})
		wake := a.pausedAfter(lease.ProvisioningStarted{})
		id := w.acquire()
		w.isLease(lease.StatusProvisioning, id)
		b := w.start(supervisor.Options{})
		w.pass(within)
		require.Equal(t, b.process.ID, w.isLease(lease.StatusActive, id).Worker)
		require.Equal(t, int64(1), calls.acquire.Load())
		wake()
		w.pass(time.Minute)
		require.Equal(t, int64(1), calls.acquire.Load(), "it looks at the log before it calls")
		require.Len(t, w.driver.Live(), 1)
	})
}

func TestAWorkerThatWasPausedAfterItsClaimTakesNothingDownOnceAnotherTookOver(t *testing.T) {
	var calls called
	inWorld(t, fake.Options{Hooks: calls.hooks()}, func(t *testing.T, w *world) {
		a := w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		wake := a.pausedAfter(lease.ReleaseStarted{})
		w.release(id)
		w.isLease(lease.StatusReleasing, id)
		w.start(supervisor.Options{})
		w.pass(within)
		require.Equal(t, 2, w.isLease(lease.StatusReleased, id).Teardown)
		require.Equal(t, int64(1), calls.release.Load())
		wake()
		w.pass(time.Minute)
		require.Equal(t, int64(1), calls.release.Load())
	})
}

func TestACommandWhoseWorkerWasPausedBeforeItsStartNeverRuns(t *testing.T) {
	var calls called
	inWorld(t, fake.Options{Hooks: calls.hooks()}, func(t *testing.T, w *world) {
		a := w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		wake := a.pausedAfter(execution.Claimed{})
		x := w.exec(id, "echo")
		w.settled()
		w.start(supervisor.Options{})
		w.pass(within)
		require.Equal(t, "worker_gone", w.hasEnded(execution.EndUnknown, x).Why)
		wake()
		w.pass(time.Minute)
		require.Zero(t, calls.exec.Load())
	})
}

func TestAWorkerThatWasPausedGoesOnIfNobodyTookOver(t *testing.T) {
	var calls called
	inWorld(t, fake.Options{Class: drivers.ClassBlind, NoList: true, Hooks: calls.hooks()}, func(t *testing.T, w *world) {
		a := w.start(supervisor.Options{})
		wake := a.pausedAfter(lease.ProvisioningStarted{})
		id := w.acquire()
		w.pass(time.Minute)
		wake()
		w.settled()
		require.Equal(t, 1, w.isLease(lease.StatusActive, id).Attempt)
		require.Equal(t, int64(1), calls.acquire.Load())
	})
}

func TestAClaimWhoseTimeIsOverIsNotUsed(t *testing.T) {
	var calls called
	inWorld(t, fake.Options{Class: drivers.ClassBlind, NoList: true, Hooks: calls.hooks()}, func(t *testing.T, w *world) {
		a := w.start(supervisor.Options{ProvisionTimeout: time.Minute})
		wake := a.pausedAfter(lease.ProvisioningStarted{})
		id := w.acquire()
		w.pass(2 * time.Minute)
		wake()
		w.pass(time.Minute)
		l := w.isLease(lease.StatusActive, id)
		require.Equal(t, 2, l.Attempt, "nothing was asked for in the first one, which is known")
		require.Equal(t, int64(1), calls.acquire.Load())
		require.Contains(t, a.logs.String(), "was over before the driver was asked")
	})
}
