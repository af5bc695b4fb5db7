package supervisor_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// A request whose policy nobody could judge ends once a driver is there that cannot keep runtimes: before it is asked for one.
func TestALeaseWhosePolicyItsDriverCannotKeepFailsBeforeAnythingIsMade(t *testing.T) {
	inWorld(t, fake.Options{NoKeep: true}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		for _, policy := range []lease.Policy{lease.PolicyReuseByEnvironment, lease.PolicyRetainOnFailure} {
			l := w.isLease(lease.StatusFailed, w.acquire(under(policy, "a")))
			require.Equal(t, "policy_unsupported", l.FailureCode)
			require.Contains(t, l.FailureMessage, "fake cannot keep a runtime after its lease, as "+string(policy)+" asks for; leave out leasePolicy")
			require.Equal(t, 1, l.Attempt)
			require.False(t, l.HoldsSlot() || l.NeedsTeardown())
		}
		require.Zero(t, w.driver.Made())
		w.isLease(lease.StatusActive, w.acquire())
	})
}

// forgetful is a driver that does not keep runtimes any more.
type forgetful struct{ *fake.Driver }

func (f forgetful) Describe() drivers.Description {
	about := f.Driver.Describe()
	about.Capabilities.Keep = false
	return about
}

// What still comes to be kept by a driver that cannot (the engine was replaced by one with less) is taken down, and the lease
// ends as it would have without a policy.
func TestARuntimeThatNobodyCanKeepAnyMoreIsTakenDown(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		id := w.acquire(reusing)
		w.isLease(lease.StatusActive, id)
		n.crash()
		registry, err := drivers.NewRegistry(forgetful{w.driver})
		require.NoError(t, err)
		require.NoError(t, w.prepareWith(registry, supervisor.Options{}).Start(t.Context()))
		w.giveBack(id, lease.ReasonReleased)
		w.pass(time.Minute) // the dead one's partitions are taken
		require.True(t, w.isLease(lease.StatusReleased, id).Cleaned)
		require.Empty(t, w.driver.Live())
	})
}

// A runtime that was to be kept and turns out to be gone ends the lease of a failed run as that of any other. The log says by
// which proof: it was made, and was not there any more.
func TestARuntimeThatIsGoneWhenARunFailsEndsTheLease(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		id := w.acquire(under(lease.PolicyRetainOnFailure, "a"))
		w.isLease(lease.StatusActive, id)
		w.driver.Lose(w.lease(id).Runtime.String())
		w.giveBack(id, lease.ReasonFailed)
		l := w.isLease(lease.StatusFailed, id)
		require.Equal(t, "run_failed", l.FailureCode)
		require.Equal(t, 1, l.Teardown)
		require.False(t, l.NeedsTeardown() || l.Kept || l.HoldsSlot())
		require.Equal(t, runtime.ProofReleased, w.runtime(l.Runtime).Proof)
	})
}

// What is gone may have left something under its id, such as the half of one that an acquisition was killed over: it is taken
// down before another runtime takes its place, and trouble on the way to that holds nobody up for ever.
func TestWhatARuntimeThatIsGoneHasLeftIsTakenDownBeforeItIsReplaced(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]int32{"at once": 0, "in the end": 2, "never": 1000} {
		t.Run(name, func(t *testing.T) {
			var released []drivers.ReleaseRequest
			var left atomic.Int32
			hooks := fake.Hooks{BeforeRelease: func(_ context.Context, req drivers.ReleaseRequest) error {
				released = append(released, req)
				if left.Add(-1) >= 0 {
					return errors.New("no way there")
				}
				return nil
			}}
			inWorld(t, fake.Options{Hooks: hooks}, func(t *testing.T, w *world) {
				w.start(supervisor.Options{})
				_, kept := w.retained(reusing)
				require.Empty(t, released)
				w.driver.Lose(kept.Runtime.String())
				left.Store(fails)
				id := w.acquire(reusing)
				w.pass(5 * time.Minute)
				l := w.isLease(lease.StatusActive, id)
				require.Equal(t, lease.AcquisitionReplacement, l.Acquisition)
				require.Equal(t, "runtime_gone", l.AcquisitionReason)
				require.NotEqual(t, kept.Runtime, l.Runtime)
				require.Len(t, released, min(int(fails)+1, 3))
				for _, r := range released {
					require.Equal(t, kept.Runtime.String(), r.RuntimeID)
					require.Equal(t, l.Fence, r.Fence)
				}
				require.Len(t, w.driver.Live(), 1)
			})
		})
	}
}

// The same at the end of a lease that was to keep it.
func TestWhatARuntimeThatIsGoneHasLeftIsTakenDownAtTheEndOfItsLease(t *testing.T) {
	var released atomic.Int32
	hooks := fake.Hooks{BeforeRelease: func(context.Context, drivers.ReleaseRequest) error { released.Add(1); return nil }}
	inWorld(t, fake.Options{Hooks: hooks}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		id := w.acquire(reusing)
		l := w.isLease(lease.StatusActive, id)
		w.driver.Lose(l.Runtime.String())
		w.giveBack(id, lease.ReasonReleased)
		w.isLease(lease.StatusReleased, id)
		require.EqualValues(t, 1, released.Load())
		require.Equal(t, 1, w.count(commands.Runtimes.Stream(l.Runtime.UUID), "RuntimeDestroyed"))
	})
}

// What has taken a runtime's name is another one's, and is not asked to go.
func TestWhatHasTheNameOfAKeptRuntimeIsNotTakenDown(t *testing.T) {
	var released atomic.Int32
	hooks := fake.Hooks{BeforeRelease: func(context.Context, drivers.ReleaseRequest) error { released.Add(1); return nil }}
	inWorld(t, fake.Options{Hooks: hooks}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		_, kept := w.retained(reusing)
		w.driver.Usurp(kept.Runtime.String())
		require.Equal(t, "identity_mismatch", w.isLease(lease.StatusActive, w.acquire(reusing)).AcquisitionReason)
		require.Zero(t, released.Load())
	})
}

// A runtime that is kept, and in the same breath is to make room for whoever waits, is not gone before it was taken down.
func TestARuntimeThatIsEvictedAtOnceIsNotSaidToBeGoneBeforeItIs(t *testing.T) {
	var when []runtime.Status
	var w *world
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeRelease: func(_ context.Context, req drivers.ReleaseRequest) error {
		when = append(when, w.runtime(domain.RuntimeID{UUID: uuid.MustParse(req.RuntimeID)}).Status)
		return nil
	}}}, func(t *testing.T, in1 *world) {
		w = in1
		w.start(supervisor.Options{})
		env := w.register("fake", 1)
		first := w.acquire(in(env), reusing)
		l := w.isLease(lease.StatusActive, first)
		waits := w.acquire(in(env), under(lease.PolicyReuseByEnvironment, "another"))
		w.isLease(lease.StatusRequested, waits)
		w.giveBack(first, lease.ReasonReleased)
		w.isLease(lease.StatusActive, waits)
		require.Equal(t, []runtime.Status{runtime.StatusDestroying}, when)
		require.Equal(t, []string{"RuntimeFreed", "RuntimeDestroyIntended", "RuntimeDestroyed"}, w.names(commands.Runtimes.Stream(l.Runtime.UUID))[3:])
		require.Equal(t, lease.CleanupSuccess, w.lease(first).CleanupStatus())
	})
}
