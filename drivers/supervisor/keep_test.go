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
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// under asks for a lease with a policy, for an agent.
func under(policy lease.Policy, agent string) func(*commands.Acquire) {
	return func(a *commands.Acquire) {
		a.Policy, a.RetainFor, a.Context.Agent = policy, time.Hour, agent
	}
}

var reusing = under(lease.PolicyReuseByEnvironment, "a")

// giveBack ends a lease as a run ends it.
func (w *world) giveBack(id domain.LeaseID, reason lease.Reason) {
	w.Helper()
	_, err := w.client.ReleaseLease(w.Context(), commands.Caller{}, id, lease.Release{Reason: reason})
	require.NoError(w, err)
}

// destroy ends a lease and what it keeps.
func (w *world) destroy(id domain.LeaseID) {
	w.Helper()
	_, err := w.client.ReleaseLease(w.Context(), commands.Caller{}, id, lease.Release{Reason: lease.ReasonReleased, Disposition: lease.DispositionDestroy})
	require.NoError(w, err)
}

// retained is a lease that has come to keep its runtime.
func (w *world) retained(opts ...func(*commands.Acquire)) (domain.LeaseID, lease.State) {
	w.Helper()
	id := w.acquire(opts...)
	w.isLease(lease.StatusActive, id)
	w.giveBack(id, lease.ReasonReleased)
	return id, w.isLease(lease.StatusRetained, id)
}

func TestARuntimeIsKeptAndGivenToTheNextLeaseOfItsScope(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		first, kept := w.retained(reusing)
		require.Len(t, w.driver.Live(), 1)
		second := w.acquire(reusing)
		now := w.isLease(lease.StatusActive, second)
		require.Equal(t, kept.Runtime, now.Runtime)
		require.Equal(t, lease.AcquisitionResumed, now.Acquisition)
		require.Greater(t, now.Fence, kept.Fence)
		require.Equal(t, second, w.lease(first).PassedTo)
		require.Equal(t, 1, w.driver.Made())

		// The former holder has no say any more.
		w.destroy(first)
		w.pass(time.Minute)
		w.isLease(lease.StatusActive, second)
		require.Len(t, w.driver.Live(), 1)

		w.destroy(second)
		w.isLease(lease.StatusReleased, second)
		require.Empty(t, w.driver.Live())
		third := w.acquire(reusing)
		require.Equal(t, lease.AcquisitionCreated, w.isLease(lease.StatusActive, third).Acquisition)
	})
}

func TestAKeptRuntimeIsNobodysBeyondItsScope(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		_, kept := w.retained(reusing)
		for _, other := range []func(*commands.Acquire){
			under(lease.PolicyReuseByEnvironment, "b"), under(lease.PolicyEphemeral, "a"), under(lease.PolicyRetainOnFailure, "a"),
			func(a *commands.Acquire) { reusing(a); a.Context.Adapter = "x" },
			func(a *commands.Acquire) {
				reusing(a)
				a.Policy, a.Context.Workspace = lease.PolicyReuseByWorkspace, "w"
			},
		} {
			l := w.isLease(lease.StatusActive, w.acquire(other))
			require.NotEqual(t, kept.Runtime, l.Runtime)
			require.Equal(t, lease.AcquisitionCreated, l.Acquisition)
		}
	})
}

func TestAKeptRuntimeGoesWhenNobodyWantsItForItsTime(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		id, kept := w.retained(reusing)
		w.pass(59 * time.Minute)
		require.Len(t, w.driver.Live(), 1)
		w.pass(2 * time.Minute)
		require.Empty(t, w.driver.Live())
		now := w.isLease(lease.StatusRetained, id)
		require.Equal(t, lease.RetentionExpired, now.RetentionEnd)
		require.Equal(t, lease.CleanupSuccess, now.CleanupStatus())
		require.Equal(t, 1, w.count(commands.Runtimes.Stream(kept.Runtime.UUID), "RuntimeDestroyed"))
	})
}

func TestAKeptRuntimeMakesRoomForWhoWaits(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.environment = w.register("fake", 1)
		w.start(supervisor.Options{})
		id, _ := w.retained(reusing)
		other := w.acquire()
		w.isLease(lease.StatusActive, other)
		require.Equal(t, lease.RetentionEvicted, w.lease(id).RetentionEnd)
		require.Len(t, w.driver.Live(), 1)
	})
}

func TestARuntimeThatIsGivenBackGoesToWhoWaitsForIt(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.environment = w.register("fake", 1)
		w.start(supervisor.Options{})
		first := w.acquire(reusing)
		w.isLease(lease.StatusActive, first)
		second, third := w.acquire(reusing), w.acquire()
		w.giveBack(first, lease.ReasonReleased)
		require.Equal(t, lease.AcquisitionResumed, w.isLease(lease.StatusActive, second).Acquisition)
		w.giveBack(second, lease.ReasonReleased)
		require.Equal(t, lease.AcquisitionCreated, w.isLease(lease.StatusActive, third).Acquisition)
		require.Equal(t, 2, w.driver.Made())
		require.Len(t, w.driver.Live(), 1)
	})
}

func TestADriftOfTheConfigurationDestroysTheKeptRuntimeFirst(t *testing.T) {
	var calls called
	inWorld(t, fake.Options{Hooks: calls.hooks()}, func(t *testing.T, w *world) {
		w.environment = w.register("fake", 1)
		w.start(supervisor.Options{})
		id, kept := w.retained(reusing)
		w.image(w.environment, "other")
		second := w.acquire(reusing)
		w.pass(5 * time.Second)
		now := w.isLease(lease.StatusActive, second)
		require.NotEqual(t, kept.Runtime, now.Runtime)
		require.Equal(t, lease.AcquisitionReplacement, now.Acquisition)
		require.Equal(t, "lease_fingerprint_mismatch", now.AcquisitionReason)
		require.Equal(t, lease.RetentionDrift, w.lease(id).RetentionEnd)
		require.Equal(t, lease.CleanupSuccess, w.lease(id).CleanupStatus())
		require.Len(t, w.driver.Live(), 1)
		names := w.names(commands.Runtimes.Stream(kept.Runtime.UUID))
		require.Equal(t, "RuntimeDestroyed", names[len(names)-1])
	})
}

func TestTroubleWithResumingDestroysNothing(t *testing.T) {
	var down atomic.Bool
	var tries atomic.Int64
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeResume: func(context.Context, drivers.ResumeRequest) error {
		tries.Add(1)
		if down.Load() {
			return errors.New("connection refused")
		}
		return nil
	}}}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		_, kept := w.retained(reusing)
		down.Store(true)
		second := w.acquire(reusing)
		w.pass(20 * time.Second)
		require.Greater(t, tries.Load(), int64(5))
		down.Store(false)
		w.pass(10 * time.Second)
		require.Equal(t, kept.Runtime, w.isLease(lease.StatusActive, second).Runtime)

		w.giveBack(second, lease.ReasonReleased)
		w.isLease(lease.StatusRetained, second)
		down.Store(true)
		third := w.acquire(reusing)
		w.pass(5 * time.Minute)
		failed := w.isLease(lease.StatusFailed, third)
		require.True(t, failed.Kept, "it gives up, and leaves the runtime for the next one")
		require.Len(t, w.driver.Live(), 1)
		down.Store(false)
		fourth := w.acquire(reusing)
		now := w.isLease(lease.StatusActive, fourth)
		require.Equal(t, kept.Runtime, now.Runtime)
		require.Equal(t, 1, w.driver.Made())
	})
}

func TestOnlyAKeptRuntimeThatIsCertainlyGoneIsReplaced(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		_, kept := w.retained(reusing)
		w.driver.Lose(kept.Runtime.String())
		second := w.acquire(reusing)
		now := w.isLease(lease.StatusActive, second)
		require.Equal(t, lease.AcquisitionReplacement, now.Acquisition)
		require.Equal(t, "runtime_gone", now.AcquisitionReason)
		names := w.names(commands.Runtimes.Stream(kept.Runtime.UUID))
		require.Equal(t, "RuntimeDestroyed", names[len(names)-1])

		w.giveBack(second, lease.ReasonReleased)
		w.isLease(lease.StatusRetained, second)
		usurper := w.driver.Usurp(now.Runtime.String())
		third := w.acquire(reusing)
		again := w.isLease(lease.StatusActive, third)
		require.Equal(t, lease.AcquisitionReplacement, again.Acquisition)
		require.Equal(t, "identity_mismatch", again.AcquisitionReason)
		names = w.names(commands.Runtimes.Stream(now.Runtime.UUID))
		require.Equal(t, "RuntimeLost", names[len(names)-1])
		require.Contains(t, w.driver.Live(), usurper, "what is not ours is left alone")

		// Where the runtime itself is, only a person can say.
		require.Equal(t, leak.WhyMismatch, w.leak(now.Runtime).Found.Why)
		_, err := w.client.ClearLeak(t.Context(), commands.Caller{}, leak.OfRuntime(now.Runtime), "somebody put another one in its place")
		require.NoError(t, err)
		require.Equal(t, leak.StatusCleared, w.leak(now.Runtime).Status)
		require.Equal(t, runtime.StatusDestroyed, w.runtime(now.Runtime).Status)
	})
}

func TestAFailedRunsRuntimeIsRetainedToBeLookedAt(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		policy := under(lease.PolicyRetainOnFailure, "a")
		good := w.acquire(policy)
		w.isLease(lease.StatusActive, good)
		w.giveBack(good, lease.ReasonReleased)
		w.isLease(lease.StatusReleased, good)
		require.Empty(t, w.driver.Live())

		bad := w.acquire(policy)
		w.isLease(lease.StatusActive, bad)
		x := w.exec(bad, "sleep")
		w.isExec(execution.StatusRunning, x)
		w.giveBack(bad, lease.ReasonFailed)
		l := w.isLease(lease.StatusRetained, bad)
		w.hasEnded(execution.EndKilled, x)
		live := w.driver.Live()
		require.Len(t, live, 1)
		require.True(t, live[0].Stopped)
		require.Equal(t, lease.AcquisitionCreated, w.isLease(lease.StatusActive, w.acquire(policy)).Acquisition)
		w.destroy(bad)
		w.pass(time.Second)
		require.Equal(t, lease.RetentionReleased, w.lease(bad).RetentionEnd)
		require.Equal(t, 1, w.count(commands.Runtimes.Stream(l.Runtime.UUID), "RuntimeDestroyed"))
	})
}

func TestALeaseThatNeverTouchedItsKeptRuntimeHandsItBack(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		first, kept := w.retained(reusing)
		n.stop()
		second := w.acquire(reusing)
		_, err := w.client.CancelLease(t.Context(), commands.Caller{}, second, "changed its mind")
		require.NoError(t, err)
		w.isLease(lease.StatusCanceled, second)
		require.True(t, w.lease(first).Kept)
		w.start(supervisor.Options{})
		third := w.acquire(reusing)
		require.Equal(t, kept.Runtime, w.isLease(lease.StatusActive, third).Runtime)
	})
}

func TestResumingIsTakenOverWithoutASecondRuntime(t *testing.T) {
	g := make(chan *gate, 1)
	inWorld(t, fake.Options{Class: drivers.ClassBlind, NoList: true, Hooks: fake.Hooks{
		BeforeResume: func(_ context.Context, req drivers.ResumeRequest) error {
			if req.Attempt == 1 {
				at := <-g
				g <- at
				at.endure()
			}
			return nil
		},
	}}, func(t *testing.T, w *world) {
		slow := newGate()
		g <- slow
		a := w.start(supervisor.Options{})
		_, kept := w.retained(reusing)
		second := w.acquire(reusing)
		w.isLease(lease.StatusProvisioning, second)
		b := w.start(supervisor.Options{})
		a.crash()
		w.pass(within)
		l := w.isLease(lease.StatusActive, second)
		require.Equal(t, b.process.ID, l.Worker)
		require.Equal(t, kept.Runtime, l.Runtime)
		slow.open()
		a.stop()
		require.Equal(t, 1, w.driver.Made())
	})
}

func TestTheEndOfAnEnvironmentTakesItsKeptRuntimesAlong(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		id, _ := w.retained(reusing)
		_, err := w.client.RetireEnvironment(t.Context(), commands.Caller{}, w.environment, commands.Retirement{Delete: true})
		var refusal *domain.Refusal
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, []domain.Blocker{{Kind: "lease", ID: id.String(), Status: "retained"}}, refusal.Blockers)
		_, err = w.client.RetireEnvironment(t.Context(), commands.Caller{}, w.environment, commands.Retirement{Delete: true, Force: true})
		require.NoError(t, err)
		w.pass(5 * time.Second)
		require.Empty(t, w.driver.Live())
		env, err := eventstore.Load(t.Context(), w.client.Ledger(), commands.Environments, w.environment.UUID)
		require.NoError(t, err)
		require.Equal(t, environment.StatusDeleted, env.State.Status)
	})
}

func TestAKeptRuntimeThatCannotBeTakenDownHoldsUpNobodyWhileAnotherOneCan(t *testing.T) {
	var stuck atomic.Pointer[string]
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeRelease: func(_ context.Context, req drivers.ReleaseRequest) error {
		if id := stuck.Load(); id != nil && *id == req.RuntimeID {
			return errors.New("the volume is busy")
		}
		return nil
	}}}, func(t *testing.T, w *world) {
		w.environment = w.register("fake", 2)
		w.start(supervisor.Options{})
		first, kept := w.retained(under(lease.PolicyReuseByEnvironment, "a"))
		second, _ := w.retained(under(lease.PolicyReuseByEnvironment, "b"))
		id := kept.Runtime.String()
		stuck.Store(&id)
		other := w.acquire()
		w.pass(5 * time.Second)
		w.isLease(lease.StatusActive, other)
		require.Equal(t, lease.CleanupPending, w.lease(first).CleanupStatus())
		require.Equal(t, lease.CleanupSuccess, w.lease(second).CleanupStatus())
	})
}
