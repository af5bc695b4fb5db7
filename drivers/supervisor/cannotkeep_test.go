package supervisor_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
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
		require.True(t, w.isLease(lease.StatusReleased, id).Cleaned)
		require.Empty(t, w.driver.Live())
	})
}
