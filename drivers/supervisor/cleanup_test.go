package supervisor_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// stuckRelease is a provider that takes nothing down until it is mended.
type stuckRelease struct {
	mended atomic.Bool
	calls  atomic.Int64
}

func (s *stuckRelease) hooks() fake.Hooks {
	return fake.Hooks{BeforeRelease: func(context.Context, drivers.ReleaseRequest) error {
		s.calls.Add(1)
		if s.mended.Load() {
			return nil
		}
		return &drivers.Failure{Outcome: drivers.OutcomeRetryable, Code: "busy", Err: errors.New("busy")}
	}}
}

func (w *world) leak(id domain.RuntimeID) leak.State {
	w.Helper()
	l, err := eventstore.Load(w.Context(), w.client.Ledger(), commands.Leaks, leak.OfRuntime(id).UUID)
	require.NoError(w, err)
	return l.State
}

func (w *world) runtime(id domain.RuntimeID) runtime.State {
	w.Helper()
	r, err := eventstore.Load(w.Context(), w.client.Ledger(), commands.Runtimes, id.UUID)
	require.NoError(w, err)
	return r.State
}

func (w *world) force(id domain.LeaseID) {
	w.Helper()
	_, err := w.client.ForceCleanup(w.Context(), commands.Caller{}, id, "it is stuck")
	require.NoError(w, err)
	w.settled()
}

// pending is a lease whose teardown fails, after so long.
func (w *world) pending(after time.Duration) (domain.LeaseID, lease.State) {
	w.Helper()
	id := w.acquire()
	w.isLease(lease.StatusActive, id)
	w.release(id)
	w.pass(after)
	return id, w.isLease(lease.StatusPendingCleanup, id)
}

func TestACleanupThatDoesNotSucceedEndsInQuarantineAndGoesOnByItself(t *testing.T) {
	var p stuckRelease
	inWorld(t, fake.Options{Hooks: p.hooks()}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{CleanupAttempts: 4})
		id, l := w.pending(10 * time.Second)
		require.True(t, l.Quarantined)
		require.Equal(t, lease.CleanupFailed, l.CleanupStatus())
		require.Equal(t, int64(4), p.calls.Load())
		require.Equal(t, leak.StatusOpen, w.leak(l.Runtime).Status)
		require.Equal(t, leak.WhyQuarantined, w.leak(l.Runtime).Found.Why)
		require.Equal(t, w.company, w.leak(l.Runtime).Found.Company)

		w.pass(30 * time.Minute)
		require.Equal(t, int64(4), p.calls.Load(), "it is left alone for a long while")
		w.pass(2 * time.Hour)
		require.Greater(t, p.calls.Load(), int64(4), "a provider that comes back is found")
		require.Equal(t, 1, w.count(streamOf(id), "LeaseQuarantined"))
		p.mended.Store(true)
		w.pass(time.Hour)
		l = w.isLease(lease.StatusReleased, id)
		require.Equal(t, lease.CleanupSuccess, l.CleanupStatus())
		require.Equal(t, leak.StatusCleared, w.leak(l.Runtime).Status)
		require.Equal(t, leak.ProofDestroyed, w.leak(l.Runtime).Cleared.Proof)
		require.Empty(t, w.driver.Live())
	})
}

func TestARetryByHandTriesAtOnceAlsoOutOfQuarantine(t *testing.T) {
	var p stuckRelease
	inWorld(t, fake.Options{Hooks: p.hooks()}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{CleanupAttempts: 3})
		id, l := w.pending(10 * time.Second)
		require.True(t, l.Quarantined)
		p.mended.Store(true)
		_, err := w.client.RetryCleanup(t.Context(), commands.Caller{}, id)
		require.NoError(t, err)
		w.isLease(lease.StatusReleased, id)
		require.Equal(t, leak.StatusCleared, w.leak(l.Runtime).Status)
	})
}

func TestForceFreesTheSlotAndLeavesTheRuntimeOnTheListOfLeaks(t *testing.T) {
	var p stuckRelease
	inWorld(t, fake.Options{NoList: true, Hooks: p.hooks()}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{CleanupAttempts: 3})
		env := w.register("fake", 1)
		id, next := w.acquire(in(env)), w.acquire(in(env))
		w.isLease(lease.StatusActive, id)
		w.release(id)
		w.pass(time.Second)
		w.isLease(lease.StatusPendingCleanup, id)
		w.isLease(lease.StatusRequested, next)
		w.force(id)
		l := w.isLease(lease.StatusReleased, id)
		require.Equal(t, lease.CleanupFailed, l.CleanupStatus())
		w.isLease(lease.StatusActive, next)
		require.Equal(t, runtime.StatusDestroying, w.runtime(l.Runtime).Status, "it is not claimed to be gone")
		require.Equal(t, leak.WhyForced, w.leak(l.Runtime).Found.Why)
		before := p.calls.Load()
		w.pass(30 * time.Minute)
		require.Equal(t, before, p.calls.Load(), "its lease is over")

		_, err := w.client.ClearLeak(t.Context(), commands.Caller{}, leak.OfRuntime(l.Runtime), "removed by hand")
		require.NoError(t, err)
		require.Equal(t, leak.StatusCleared, w.leak(l.Runtime).Status)
		require.Equal(t, runtime.StatusDestroyed, w.runtime(l.Runtime).Status)
	})
}

func TestALeakWhoseLeaseStillTriesIsNotClearedByHand(t *testing.T) {
	var p stuckRelease
	inWorld(t, fake.Options{Hooks: p.hooks()}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{CleanupAttempts: 1})
		_, l := w.pending(0)
		_, err := w.client.ClearLeak(t.Context(), commands.Caller{}, leak.OfRuntime(l.Runtime), "removed by hand")
		var refusal *domain.Refusal
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, "lease_not_over", refusal.Code)
		require.Equal(t, leak.StatusOpen, w.leak(l.Runtime).Status)
	})
}

// A17, the variant: the provider never answers.
func TestALeaseWhoseProviderNeverAnswersEndsByForce(t *testing.T) {
	g := newGate()
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: func(_ context.Context, req drivers.AcquireRequest) error {
		if req.RunID == "doomed" {
			g.endure()
		}
		return nil
	}}}, func(t *testing.T, w *world) {
		g.opened = make(chan struct{}) // within the bubble
		w.start(supervisor.Options{ProvisionTimeout: time.Hour})
		env := w.register("fake", 1)
		id := w.acquire(in(env), func(a *commands.Acquire) { a.Run = "doomed" })
		next := w.acquire(in(env))
		w.isLease(lease.StatusProvisioning, id)
		w.force(id)
		l := w.isLease(lease.StatusFailed, id)
		require.Equal(t, "cleanup_forced", l.FailureCode)
		require.Equal(t, lease.CleanupFailed, l.CleanupStatus())
		w.isLease(lease.StatusActive, next)
		require.Equal(t, leak.StatusOpen, w.leak(l.Runtime).Status)

		g.open()
		w.settled()
		require.Len(t, w.driver.Live(), 1, "what was made too late is destroyed")
		require.Equal(t, leak.StatusCleared, w.leak(l.Runtime).Status)
		require.Equal(t, lease.CleanupSuccess, w.isLease(lease.StatusFailed, id).CleanupStatus())
		require.Equal(t, runtime.StatusDestroyed, w.runtime(l.Runtime).Status)
	})
}

func TestATeardownThatWorksAfterAllIsTheProofAForcedLeaseLacked(t *testing.T) {
	g := newGate()
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeRelease: func(context.Context, drivers.ReleaseRequest) error {
		g.endure()
		return nil
	}}}, func(t *testing.T, w *world) {
		g.opened = make(chan struct{}) // within the bubble
		w.start(supervisor.Options{ReleaseTimeout: time.Hour})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		w.release(id)
		w.isLease(lease.StatusReleasing, id)
		w.force(id)
		l := w.isLease(lease.StatusReleased, id)
		require.Equal(t, lease.CleanupFailed, l.CleanupStatus())
		g.open()
		l = w.isLease(lease.StatusReleased, id)
		require.Equal(t, lease.CleanupSuccess, l.CleanupStatus())
		require.Equal(t, leak.StatusCleared, w.leak(l.Runtime).Status)
		require.Empty(t, w.driver.Live())
	})
}

// A09: asking again soon for room that is not there is of no use.
func TestAfterNoCapacityTheEngineWaitsLongerThanAfterACrash(t *testing.T) {
	wait := func(code string) time.Duration {
		var waited time.Duration
		t.Run(code, func(t *testing.T) {
			inWorldNow(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: func(context.Context, drivers.AcquireRequest) error {
				return &drivers.Failure{Outcome: drivers.OutcomeRetryable, Code: code, Err: errors.New("no")}
			}}}, func(t *testing.T, w *world) {
				w.start(supervisor.Options{})
				id := w.acquire()
				l := w.isLease(lease.StatusProvisioning, id)
				require.Equal(t, code, l.FailureCode)
				waited = time.Until(l.RetryAt)
			})
		})
		return waited
	}
	crash, full := wait("worker_gone"), wait(drivers.CodeNoCapacity)
	require.LessOrEqual(t, crash, 500*time.Millisecond)
	require.GreaterOrEqual(t, full, 10*time.Second)
}

// A09: what the provider says of it within its limit is what the user reads, not that the engine gave up.
func TestTheProvidersOwnLimitFiresBeforeTheEngines(t *testing.T) {
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: func(ctx context.Context, _ drivers.AcquireRequest) error {
		<-ctx.Done()
		return &drivers.Failure{Outcome: drivers.OutcomeRetryable, Code: "image_unavailable", Err: errors.New("cannot be pulled")}
	}}}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{ProvisionTimeout: time.Minute, MaxAttempts: 1})
		began := time.Now()
		id := w.acquire()
		w.pass(time.Minute)
		l := w.isLease(lease.StatusFailed, id)
		require.Equal(t, "image_unavailable", l.FailureCode)
		require.Less(t, l.EndedAt.Sub(began), time.Minute, "within the claim, so that nobody else takes it over meanwhile")
	})
}

// An end that the log cannot have is no reason to tear down without a pause and for ever.
func TestATeardownWhoseEndIsRefusedIsAFailureLikeAnyOther(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{CleanupAttempts: 3})
		id := w.acquire()
		l := w.isLease(lease.StatusActive, id)
		_, err := eventstore.Execute(t.Context(), w.client.Ledger(), eventstore.Options{}, func(ctx context.Context, work *eventstore.Work) error {
			_, err := eventstore.Act(ctx, work, commands.Runtimes, l.Runtime.UUID, runtime.Command(runtime.Disown{}))
			return err
		})
		require.NoError(t, err)
		w.release(id)
		w.pass(5 * time.Minute)
		l = w.isLease(lease.StatusPendingCleanup, id)
		require.True(t, l.Quarantined)
		require.Equal(t, "end_refused", l.TeardownCode)
		require.Equal(t, 3, l.Teardown)
	})
}
