package supervisor_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

func TestALeaseIsMadeUsedAndGivenBack(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		id := w.acquire()
		l := w.isLease(lease.StatusActive, id)
		require.Equal(t, lease.AcquisitionCreated, l.Acquisition)
		live := w.driver.Live()
		require.Len(t, live, 1)
		require.Equal(t, l.Runtime.String(), live[0].Request.RuntimeID)
		require.Equal(t, l.Fence, live[0].Request.Fence)
		require.Equal(t, live[0].ProviderLeaseID, *l.ProviderLeaseID)

		x := w.exec(id, "echo", "hello")
		require.Equal(t, 0, *w.hasEnded(execution.EndExited, x).ExitCode)
		w.release(id)
		l = w.isLease(lease.StatusReleased, id)
		require.Equal(t, lease.CleanupSuccess, l.CleanupStatus())
		require.Empty(t, w.driver.Live())
		require.Equal(t, []string{
			"LeaseRequested", "LeaseGranted", "LeaseProvisioningStarted", "LeaseProvisioned", "LeaseReleaseRequested", "LeaseReleaseStarted", "LeaseReleased",
		}, w.names(streamOf(id)))
		require.Equal(t, []string{
			"RuntimeIntended", "RuntimeMade", "RuntimeHeld", "RuntimeFreed", "RuntimeDestroyIntended", "RuntimeDestroyed",
		}, w.names(commands.Runtimes.Stream(l.Runtime.UUID)))
	})
}

func TestWhatAProcessDidAndWasToldOfItDoesNotRead(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{SweepInterval: time.Hour})
		w.settled() // the first sweep is over: what it finds is read
		w.client = commands.New(n.ledger, w.vault)
		life := func() (reads int64) {
			before := n.link.reads.Load()
			id := w.acquire()
			w.settled()
			w.release(id)
			w.settled()
			reads = n.link.reads.Load() - before
			w.isLease(lease.StatusReleased, id)
			return reads
		}
		life() // the environment and its admission are read
		require.Zero(t, life())
	})
}

func TestTheCauseOfAStepIsTheAppendThatLedToIt(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		w.settled() // the first sweep is over: what it finds has no cause
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		events, err := w.store.ReadStream(t.Context(), streamOf(id), 0, 0)
		require.NoError(t, err)
		require.Equal(t, events[1].AppendID, events[2].By.Cause)
		require.Equal(t, n.process.ID.UUID, events[2].By.Actor.UUID)
	})
}

func TestTheNextLeaseGetsTheSlotThatBecameFree(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		env := w.register("fake", 1)
		first, second := w.acquire(in(env)), w.acquire(in(env))
		w.isLease(lease.StatusActive, first)
		w.isLease(lease.StatusRequested, second)
		w.release(first)
		w.isLease(lease.StatusReleased, first)
		w.isLease(lease.StatusActive, second)
		require.Len(t, w.driver.Live(), 1)
	})
}

func TestAReleaseDuringProvisioningIsRememberedAndTheRuntimeDestroyed(t *testing.T) {
	g := make(chan *gate, 1)
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: func(ctx context.Context, req drivers.AcquireRequest) error {
		return heed(ctx, g)
	}}}, func(t *testing.T, w *world) {
		slow := newGate()
		g <- slow
		w.start(supervisor.Options{})
		env := w.register("fake", 1)
		id, next := w.acquire(in(env)), w.acquire(in(env))
		w.isLease(lease.StatusProvisioning, id)
		w.pass(time.Second)
		w.release(id)
		w.isLease(lease.StatusReleasing, id)
		w.pass(time.Minute)
		w.isLease(lease.StatusReleasing, id)
		require.Equal(t, int64(1), slow.waiting.Load())
		slow.open()
		w.isLease(lease.StatusReleased, id)
		w.isLease(lease.StatusActive, next)
		require.Equal(t, 2, w.driver.Made())
		require.Len(t, w.driver.Live(), 1)
	})
}

// heed waits at the gate in g, if there is one.
func heed(ctx context.Context, g chan *gate) error {
	select {
	case at := <-g:
		defer func() { g <- at }()
		return at.wait(ctx)
	default:
		return nil
	}
}

func TestAProviderThatNeverAnswersEndsInAFailedLease(t *testing.T) {
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: func(ctx context.Context, _ drivers.AcquireRequest) error {
		<-ctx.Done()
		return ctx.Err()
	}}}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{ProvisionTimeout: time.Minute, MaxAttempts: 2})
		id := w.acquire()
		w.pass(3 * time.Minute)
		l := w.isLease(lease.StatusFailed, id)
		require.Equal(t, "driver_timeout", l.FailureCode)
		require.Equal(t, lease.CleanupSuccess, l.CleanupStatus())
	})
}

func TestARetryableFailureIsTriedAgainAfterABackOff(t *testing.T) {
	var calls atomic.Int64
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: func(context.Context, drivers.AcquireRequest) error {
		if calls.Add(1) < 4 {
			return errors.New("busy")
		}
		return nil
	}}}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{RetryBase: time.Second})
		began := time.Now()
		id := w.acquire()
		w.isLease(lease.StatusProvisioning, id)
		require.Equal(t, int64(1), calls.Load())
		w.pass(10 * time.Second)
		l := w.isLease(lease.StatusActive, id)
		require.Equal(t, 4, l.Attempt)
		require.Equal(t, int64(4), calls.Load())
		took := l.AcquiredAt.Sub(began) // 1 s, 2 s and 4 s, less what chance takes off
		require.LessOrEqual(t, took, 7*time.Second)
		require.GreaterOrEqual(t, took, 7*time.Second*3/4)
	})
}

func TestALeaseFailsAfterTheLastAttemptAndFreesItsSlotOnceCleanedUp(t *testing.T) {
	var releases atomic.Int64
	inWorld(t, fake.Options{Hooks: fake.Hooks{
		AfterAcquire: func(_ context.Context, req drivers.AcquireRequest) error {
			if req.Attempt <= 3 && req.RunID == "doomed" {
				return errors.New("the answer was lost")
			}
			return nil
		},
		BeforeRelease: func(context.Context, drivers.ReleaseRequest) error {
			if releases.Add(1) < 3 {
				return &drivers.Failure{Outcome: drivers.OutcomeRetryable, Code: "busy", Err: errors.New("busy")}
			}
			return nil
		},
	}}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{MaxAttempts: 3, RetryBase: time.Second})
		env := w.register("fake", 1)
		id := w.acquire(in(env), func(a *commands.Acquire) { a.Run = "doomed" })
		next := w.acquire(in(env))
		w.pass(3100 * time.Millisecond) // two back-offs: 1 s and 2 s
		l := w.isLease(lease.StatusFailed, id)
		require.Equal(t, 3, l.Attempt)
		require.Equal(t, lease.CleanupPending, l.CleanupStatus())
		w.isLease(lease.StatusRequested, next)
		require.Len(t, w.driver.Live(), 1)
		w.pass(4 * time.Second)
		require.Equal(t, lease.CleanupSuccess, w.isLease(lease.StatusFailed, id).CleanupStatus())
		w.isLease(lease.StatusActive, next)
		require.Len(t, w.driver.Live(), 1)
	})
}

func TestADefiniteFailureFailsAtOnceAndClosesTheRuntime(t *testing.T) {
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: func(context.Context, drivers.AcquireRequest) error {
		return &drivers.Failure{Outcome: drivers.OutcomeDefinite, Code: "no_such_image", Step: "pull", Err: errors.New("no such image"), Remediation: "name another"}
	}}}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		l := w.isLease(lease.StatusFailed, w.acquire())
		require.Equal(t, "no_such_image", l.FailureCode)
		require.Contains(t, l.FailureMessage, "name another")
		require.Equal(t, 1, l.Attempt)
		require.Equal(t, lease.CleanupNone, l.CleanupStatus())
		require.False(t, l.HoldsSlot())
		require.Equal(t, []string{"RuntimeIntended", "RuntimeDestroyed"}, w.names(commands.Runtimes.Stream(l.Runtime.UUID)))
	})
}

func TestALeaseWithoutADriverFailsWithAClearCode(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		l := w.isLease(lease.StatusFailed, w.acquire(in(w.register("nowhere", 0))))
		require.Equal(t, "driver_unavailable", l.FailureCode)
		require.Contains(t, l.FailureMessage, `"nowhere"`)
		require.False(t, l.HoldsSlot())
	})
}

func TestAPanicOfADriverIsAFailureOfTheLease(t *testing.T) {
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: func(context.Context, drivers.AcquireRequest) error {
		panic("at the disco")
	}}}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{MaxAttempts: 1})
		l := w.isLease(lease.StatusFailed, w.acquire())
		require.Equal(t, "driver_panicked", l.FailureCode)
	})
}

func TestAnAnswerThatTheLogCannotHoldFailsTheLease(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		registry, err := drivers.NewRegistry(talkative{w.driver})
		require.NoError(t, err)
		require.NoError(t, w.prepareWith(registry, supervisor.Options{}).Start(t.Context()))
		l := w.isLease(lease.StatusFailed, w.acquire())
		require.Equal(t, "result_invalid", l.FailureCode)
		require.Equal(t, "fake://"+l.Runtime.String()+"/1", *l.ProviderLeaseID, "there may be no other way to find it")
		require.Equal(t, lease.CleanupSuccess, l.CleanupStatus())
		require.Empty(t, w.driver.Live())
	})
}

// talkative says more of a runtime than an event can hold.
type talkative struct{ *fake.Driver }

func (d talkative) Acquire(ctx context.Context, req drivers.AcquireRequest) (drivers.Runtime, error) {
	made, err := d.Driver.Acquire(ctx, req)
	made.Metadata = drivers.Metadata(map[string]any{"all": strings.Repeat("x", eventstore.MaxEventBytes)})
	return made, err
}

func TestAFailingTeardownIsShownAndTriedUntilItWorks(t *testing.T) {
	var calls atomic.Int64
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeRelease: func(context.Context, drivers.ReleaseRequest) error {
		if calls.Add(1) <= 8 {
			return &drivers.Failure{Outcome: drivers.OutcomeRetryable, Code: "busy", Err: errors.New("busy")}
		}
		return nil
	}}}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{RetryLimit: time.Minute})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		w.release(id)
		l := w.isLease(lease.StatusPendingCleanup, id)
		require.Equal(t, "busy", l.TeardownCode)
		require.True(t, l.HoldsSlot())
		w.pass(10 * time.Minute)
		l = w.isLease(lease.StatusReleased, id)
		require.Equal(t, 9, l.Teardown)
		require.Equal(t, int64(9), calls.Load())
		require.Empty(t, w.driver.Live())
	})
}

func TestALostWakeUpIsFoundByTheSweep(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		n.deaf.Store(true)
		id := w.acquire()
		w.pass(time.Second)
		w.isLease(lease.StatusActive, id)
		x := w.exec(id, "sleep")
		w.pass(time.Second)
		w.isExec(execution.StatusRunning, x)
		w.kill(x, "enough")
		w.pass(time.Second)
		require.Equal(t, "enough", w.hasEnded(execution.EndKilled, x).Why)
		w.release(id)
		w.pass(time.Second)
		w.isLease(lease.StatusReleased, id)
	})
}

func TestAnIdleLeaseExpires(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		id := w.acquire(lasting(24*time.Hour, time.Hour))
		w.pass(time.Hour - time.Second)
		w.isLease(lease.StatusActive, id)
		w.pass(3 * time.Second)
		w.isLease(lease.StatusExpired, id)
		require.Empty(t, w.driver.Live())
	})
}

func TestARunningCommandKeepsAnIdleLeaseAliveUntilItsTTL(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		id := w.acquire(lasting(10*time.Hour, time.Hour))
		w.isLease(lease.StatusActive, id)
		x := w.exec(id, "sleep")
		w.pass(9 * time.Hour)
		w.isLease(lease.StatusActive, id)
		w.isExec(execution.StatusRunning, x)
		require.Less(t, w.count(streamOf(id), "LeaseRenewed"), 9*11, "one durable renewal per window")
		w.pass(time.Hour + 2*time.Second)
		w.isLease(lease.StatusExpired, id)
		require.Equal(t, "lease_released", w.hasEnded(execution.EndKilled, x).Why)
		require.Empty(t, w.driver.Live())
	})
}

func TestAReplayOfTheWholeLogCallsNoDriver(t *testing.T) {
	var calls atomic.Int64
	inWorld(t, fake.Options{Hooks: fake.Hooks{
		BeforeAcquire: func(context.Context, drivers.AcquireRequest) error { calls.Add(1); return nil },
		BeforeRelease: func(context.Context, drivers.ReleaseRequest) error { calls.Add(1); return nil },
		BeforeExec:    func(context.Context, drivers.ExecRequest) error { calls.Add(1); return nil },
	}}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		for range 100 {
			id := w.acquire()
			w.settled()
			w.exec(id, "echo")
			w.settled()
			w.release(id)
		}
		w.settled()
		require.Equal(t, int64(300), calls.Load())
		head, err := w.store.Head(t.Context())
		require.NoError(t, err)
		for after := int64(0); ; {
			page, err := w.store.ReadAll(t.Context(), after, 0)
			require.NoError(t, err)
			if len(page) == 0 {
				break
			}
			for _, r := range page {
				n.Notify(r)
				n.Notify(r)
				after = r.Position
			}
		}
		w.pass(time.Minute)
		require.Equal(t, int64(300), calls.Load())
		now, err := w.store.Head(t.Context())
		require.NoError(t, err)
		require.Equal(t, head.Position, now.Position)
	})
}

func TestAStoreThatIsAwayForAWhileDoublesNothing(t *testing.T) {
	g := make(chan *gate, 1)
	inWorld(t, fake.Options{Class: drivers.ClassBlind, Hooks: fake.Hooks{
		BeforeAcquire: func(ctx context.Context, _ drivers.AcquireRequest) error { return heed(ctx, g) },
	}}, func(t *testing.T, w *world) {
		slow := newGate()
		g <- slow
		n := w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusProvisioning, id)
		n.link.down.Store(true)
		slow.open()
		waiting := w.acquire()
		w.pass(5 * time.Minute)
		w.isLease(lease.StatusProvisioning, id)
		w.isLease(lease.StatusGranted, waiting)
		n.link.down.Store(false)
		w.pass(6 * time.Second)
		require.Equal(t, 1, w.isLease(lease.StatusActive, id).Attempt)
		w.isLease(lease.StatusActive, waiting)
		require.Equal(t, 2, w.driver.Made())

		x := w.exec(id, "sleep")
		w.isExec(execution.StatusRunning, x)
		n.link.down.Store(true)
		w.release(id)
		w.pass(5 * time.Minute)
		w.isLease(lease.StatusReleasing, id)
		n.link.down.Store(false)
		w.pass(6 * time.Second)
		w.isLease(lease.StatusReleased, id)
		require.Equal(t, "lease_released", w.hasEnded(execution.EndKilled, x).Why)
		require.Len(t, w.driver.Live(), 1)
	})
}

func TestAnOutageCostsOneTryASecondForEachLease(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		n.link.down.Store(true)
		w.acquire()
		w.pass(10 * time.Minute)
		require.LessOrEqual(t, strings.Count(n.logs.String(), "a step failed"), 2*601)
	})
}

func TestAppendsWhoseOutcomeIsNotKnownAreFoundOut(t *testing.T) {
	t.Parallel()
	// Each append of the life of a lease loses its answer once.
	for nth := range int64(6) {
		t.Run("", func(t *testing.T) {
			inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
				n := w.start(supervisor.Options{})
				id := w.acquire()
				if nth == 0 {
					n.link.lose.Store(1)
				}
				w.pass(2 * time.Second)
				w.isLease(lease.StatusActive, id)
				n.link.lose.Store(nth - 1)
				w.release(id)
				w.pass(20 * time.Second)
				w.isLease(lease.StatusReleased, id)
				require.Empty(t, w.driver.Live())
				require.Equal(t, 1, w.driver.Made())
			})
		})
	}
}

func TestAClaimThatArrivesAfterItWasGivenUpIsTakenUpAgain(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		n.link.delay.Store(true)
		id := w.acquire()
		w.pass(3 * time.Second)
		require.Equal(t, 2, w.isLease(lease.StatusActive, id).Attempt)
	})
}

func TestAlteredOptionsAreChecked(t *testing.T) {
	t.Parallel()
	require.NoError(t, supervisor.Options{}.Validate())
	err := supervisor.Options{Parallel: -1, LivenessTTL: 1, SweepInterval: -1, RetryBase: time.Hour, MaxAttempts: -2}.Validate()
	for _, field := range []string{"Parallel", "LivenessTTL", "SweepInterval", "RetryLimit", "MaxAttempts"} {
		require.ErrorContains(t, err, field+":")
	}
	inWorldNow(t, fake.Options{}, func(t *testing.T, w *world) {
		require.ErrorContains(t, w.prepare(supervisor.Options{Parallel: -1}).Start(t.Context()), "Parallel")
	})
}
