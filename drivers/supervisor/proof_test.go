package supervisor_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
)

// A run that failed had a runtime, and a driver took it down: the log never says that it was never made.
func TestTheRuntimeOfAFailedRunIsDestroyedByTheProofThereIs(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		for _, reason := range []lease.Reason{lease.ReasonReleased, lease.ReasonFailed, lease.ReasonExpired} {
			id := w.acquire()
			w.isLease(lease.StatusActive, id)
			w.giveBack(id, reason)
			w.settled()
			l := w.lease(id)
			require.True(t, l.Over())
			require.Equal(t, runtime.ProofReleased, w.runtime(l.Runtime).Proof, reason)
		}
	})
}
