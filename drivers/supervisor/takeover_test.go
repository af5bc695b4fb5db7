package supervisor_test

import (
	"context"
	"errors"
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
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// within is how soon the claims of a dead process are taken over: its time to live and a sweep.
const within = 5 * time.Second

// firstAttempt holds up the first attempt of every lease at the gate in g, whatever its context says.
func firstAttempt(g chan *gate) func(context.Context, drivers.AcquireRequest) error {
	return func(_ context.Context, req drivers.AcquireRequest) error {
		if req.Attempt == 1 {
			at := <-g
			g <- at
			at.endure()
		}
		return nil
	}
}

func TestTheProvisioningOfADeadProcessIsTakenOver(t *testing.T) {
	g := make(chan *gate, 1)
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: firstAttempt(g)}}, func(t *testing.T, w *world) {
		slow := newGate()
		g <- slow
		a := w.start(supervisor.Options{})
		id := w.acquire()
		require.Equal(t, a.process.ID, w.isLease(lease.StatusProvisioning, id).Worker)
		b := w.start(supervisor.Options{})
		w.pass(time.Minute)
		require.Equal(t, a.process.ID, w.isLease(lease.StatusProvisioning, id).Worker, "a living process keeps its claim")
		a.crash()
		w.pass(within)
		l := w.isLease(lease.StatusActive, id)
		require.Equal(t, b.process.ID, l.Worker)
		require.Equal(t, 2, l.Attempt)
		slow.open()
		a.stop()
		require.Equal(t, 1, w.driver.Made())
	})
}

func TestTheLateResultOfAPausedWorkerIsRefused(t *testing.T) {
	g := make(chan *gate, 1)
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: firstAttempt(g)}}, func(t *testing.T, w *world) {
		slow := newGate()
		g <- slow
		a := w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusProvisioning, id)
		w.start(supervisor.Options{})
		w.processes.Silence(a.process.ID)
		w.pass(within)
		l := w.isLease(lease.StatusActive, id)
		w.processes.Speak(a.process.ID)
		slow.open()
		w.pass(time.Minute)
		require.Equal(t, l, w.lease(id))
		require.Equal(t, 1, w.count(commands.Runtimes.Stream(l.Runtime.UUID), "RuntimeHeld"))
		require.Len(t, w.driver.Live(), 1, "the runtime is the lease's and stays")
	})
}

func TestARuntimeThatAPausedWorkerMakesAfterTheEndOfItsLeaseIsDestroyed(t *testing.T) {
	g := make(chan *gate, 1)
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: firstAttempt(g)}}, func(t *testing.T, w *world) {
		slow := newGate()
		g <- slow
		a := w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusProvisioning, id)
		w.start(supervisor.Options{})
		w.processes.Silence(a.process.ID)
		w.pass(within)
		w.isLease(lease.StatusActive, id)
		w.release(id)
		w.isLease(lease.StatusReleased, id)
		w.processes.Speak(a.process.ID)
		slow.open()
		w.settled()
		require.Equal(t, 2, w.driver.Made())
		require.Empty(t, w.driver.Live())
	})
}

func TestALateResultLeavesTheRuntimeAloneThatIsKept(t *testing.T) {
	g := make(chan *gate, 1)
	inWorld(t, fake.Options{Hooks: fake.Hooks{AfterAcquire: firstAttempt(g)}}, func(t *testing.T, w *world) {
		slow := newGate()
		g <- slow
		a := w.start(supervisor.Options{})
		id := w.acquire(reusing)
		w.isLease(lease.StatusProvisioning, id)
		w.start(supervisor.Options{})
		w.processes.Silence(a.process.ID)
		w.pass(within)
		w.isLease(lease.StatusActive, id)
		w.giveBack(id, lease.ReasonReleased)
		w.isLease(lease.StatusRetained, id)
		w.processes.Speak(a.process.ID)
		slow.open()
		w.pass(time.Minute)
		require.Len(t, w.driver.Live(), 1, "the next lease is to have it")
	})
}

func TestAReleaseTakesOverTheOpenAttemptOfADeadProcess(t *testing.T) {
	g := make(chan *gate, 1)
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: firstAttempt(g)}}, func(t *testing.T, w *world) {
		slow := newGate()
		g <- slow
		a := w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusProvisioning, id)
		a.crash()
		w.release(id)
		w.start(supervisor.Options{})
		w.pass(within)
		w.isLease(lease.StatusReleased, id)
		slow.open()
		a.stop()
	})
}

func TestTheTeardownOfADeadProcessIsTakenOver(t *testing.T) {
	g := make(chan *gate, 1)
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeRelease: func(_ context.Context, req drivers.ReleaseRequest) error {
		if req.Attempt == 1 {
			at := <-g
			g <- at
			at.endure()
		}
		return nil
	}}}, func(t *testing.T, w *world) {
		slow := newGate()
		g <- slow
		a := w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		w.release(id)
		w.isLease(lease.StatusReleasing, id)
		w.start(supervisor.Options{})
		a.crash()
		w.pass(within)
		require.Equal(t, 2, w.isLease(lease.StatusReleased, id).Teardown)
		slow.open()
		a.stop()
		require.Equal(t, 1, w.count(streamOf(id), "LeaseReleased"))
	})
}

func TestACommandOfADeadProcessEndsUnknownAndNeverRunsAgain(t *testing.T) {
	var starts atomic.Int64
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeExec: func(context.Context, drivers.ExecRequest) error {
		starts.Add(1)
		return nil
	}}}, func(t *testing.T, w *world) {
		a := w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		x := w.exec(id, "sleep")
		w.isExec(execution.StatusRunning, x)
		w.start(supervisor.Options{})
		a.crash()
		w.pass(within)
		require.Equal(t, "worker_gone", w.hasEnded(execution.EndUnknown, x).Why)
		require.Equal(t, execution.SealLost, w.execution(x).Seal.State)
		w.pass(time.Minute)
		require.Equal(t, int64(1), starts.Load())
	})
}

func TestAProcessThatWasTakenForDeadEndsTheCommandsThatWereClosed(t *testing.T) {
	ended := make(chan struct{}, 1)
	inWorld(t, fake.Options{Commands: map[string]fake.Command{"watch": func(ctx context.Context, _ fake.Call) int {
		<-ctx.Done()
		ended <- struct{}{}
		return 0
	}}}, func(t *testing.T, w *world) {
		a := w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		x := w.exec(id, "watch")
		w.isExec(execution.StatusRunning, x)
		w.start(supervisor.Options{})
		w.processes.Silence(a.process.ID)
		w.pass(within)
		w.hasEnded(execution.EndUnknown, x)
		require.Len(t, ended, 1)
		w.isLease(lease.StatusActive, id)
	})
}

func TestARestartedProcessTakesOverItsOwnAtOnce(t *testing.T) {
	g := make(chan *gate, 1)
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: firstAttempt(g)}}, func(t *testing.T, w *world) {
		slow := newGate()
		slow.open()
		g <- slow
		a := w.start(supervisor.Options{})
		runs := w.acquire()
		w.isLease(lease.StatusActive, runs)
		x := w.exec(runs, "sleep")
		w.isExec(execution.StatusRunning, x)
		<-g
		stuck := newGate()
		g <- stuck
		made := w.acquire()
		w.isLease(lease.StatusProvisioning, made)
		a.crash()

		b := w.start(supervisor.Options{}, a.process.Node)
		w.settled()
		require.Equal(t, b.process.ID, w.isLease(lease.StatusActive, made).Worker)
		w.hasEnded(execution.EndUnknown, x)
		w.isLease(lease.StatusActive, runs)
		stuck.open()
	})
}

func TestAProcessWhosePlaceIsTakenBeginsNothingNew(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		a := w.start(supervisor.Options{})
		b := w.start(supervisor.Options{}, a.process.Node)
		b.deaf.Store(true)
		w.pass(2 * time.Second)
		select {
		case <-a.Lost():
		default:
			t.Fatal("it was not told")
		}
		id := w.acquire()
		w.pass(2 * time.Second)
		require.Equal(t, b.process.ID, w.isLease(lease.StatusActive, id).Worker)
	})
}

func TestABlindDriverIsNotAskedAgainForAnOutcomeThatNobodySaw(t *testing.T) {
	g := make(chan *gate, 1)
	var calls atomic.Int64
	inWorld(t, fake.Options{Class: drivers.ClassBlind, NoList: true, Hooks: fake.Hooks{
		BeforeAcquire: func(ctx context.Context, _ drivers.AcquireRequest) error { calls.Add(1); return heed(ctx, g) },
	}}, func(t *testing.T, w *world) {
		slow := newGate()
		g <- slow
		a := w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusProvisioning, id)
		w.start(supervisor.Options{ProvisionTimeout: time.Minute})
		a.crash()
		w.pass(4 * time.Minute)
		w.isLease(lease.StatusProvisioning, id)
		w.pass(time.Minute + within)
		l := w.isLease(lease.StatusFailed, id)
		require.Equal(t, "outcome_unknown", l.FailureCode)
		require.Equal(t, int64(1), calls.Load())
	})
}

func TestABareErrorOfABlindDriverIsAmbiguous(t *testing.T) {
	inWorld(t, fake.Options{Class: drivers.ClassBlind, NoList: true, Hooks: fake.Hooks{
		AfterAcquire: func(context.Context, drivers.AcquireRequest) error { return errors.New("connection reset") },
	}}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		l := w.isLease(lease.StatusFailed, w.acquire())
		require.Equal(t, 1, l.Attempt)
		require.Equal(t, lease.CleanupSuccess, l.CleanupStatus())
		require.Empty(t, w.driver.Live())
	})
}

func TestALeaseThatEndsEveryProcessWhichDrivesItIsGivenUp(t *testing.T) {
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: func(ctx context.Context, _ drivers.AcquireRequest) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}}}, func(t *testing.T, w *world) {
		id := w.acquire()
		n := w.start(supervisor.Options{MaxAttempts: 1})
		for range 4 {
			w.isLease(lease.StatusProvisioning, id)
			n.crash()
			n = w.start(supervisor.Options{MaxAttempts: 1}, n.process.Node)
		}
		l := w.isLease(lease.StatusFailed, id)
		require.Equal(t, "too_many_attempts", l.FailureCode)
		require.Equal(t, lease.CleanupSuccess, l.CleanupStatus())
	})
}

func TestAClaimThatItsHolderDoesNotKnowOfIsStillItsOwnWhenItsPartitionIsAnothers(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		one := w.start(supervisor.Options{})
		one.link.lose.Store(1000)
		var ids []domain.LeaseID
		for range 16 {
			ids = append(ids, w.acquire())
		}
		w.settled()
		for _, id := range ids {
			require.Equal(t, lease.StatusProvisioning, w.lease(id).Status(), "the claim is in the log, and its holder was not told")
		}
		w.start(supervisor.Options{}) // it takes half of the partitions
		one.link.lose.Store(0)
		w.pass(time.Minute)
		for _, id := range ids {
			w.isLease(lease.StatusActive, id)
		}
	})
}
