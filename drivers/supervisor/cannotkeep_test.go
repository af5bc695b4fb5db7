package supervisor_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/catalog"
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
		w.driver.Vanish(w.lease(id).Runtime.String())
		w.giveBack(id, lease.ReasonFailed)
		l := w.isLease(lease.StatusFailed, id)
		require.Equal(t, "run_failed", l.FailureCode)
		require.Equal(t, 1, l.Teardown)
		require.False(t, l.NeedsTeardown() || l.Kept || l.HoldsSlot())
		require.Equal(t, []runtime.Proof{runtime.ProofReleased}, w.proofs(l.Runtime))

		plain := w.acquire()
		w.isLease(lease.StatusActive, plain)
		w.giveBack(plain, lease.ReasonFailed)
		require.Equal(t, []runtime.Proof{runtime.ProofReleased}, w.proofs(w.isLease(lease.StatusFailed, plain).Runtime))
	})
}

// proofs are those that the log has of a runtime's end.
func (w *world) proofs(id domain.RuntimeID) (proofs []runtime.Proof) {
	w.Helper()
	all, err := w.store.ReadAll(w.Context(), 0, 0)
	require.NoError(w, err)
	for _, r := range all {
		if r.Stream != commands.Runtimes.Stream(id.UUID) || r.Name != "RuntimeDestroyed" {
			continue
		}
		e, err := catalog.Decode(r.Name, r.Revision, r.Payload)
		require.NoError(w, err)
		proofs = append(proofs, e.(runtime.Destroyed).Proof)
	}
	return proofs
}
