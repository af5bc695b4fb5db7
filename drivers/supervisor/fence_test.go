package supervisor_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore/memory"
)

// lost lets the runtime of a lease be taken by a newer holder of whom the log does not know, since it lost its end.
func (w *world) lost(l lease.State) {
	w.Helper()
	_, err := w.driver.Resume(w.Context(), drivers.ResumeRequest{
		AcquireRequest: drivers.AcquireRequest{
			RuntimeID: l.Runtime.String(), Installation: w.installation.String(), LeaseID: "lost", RunID: "lost", Fence: l.Fence + 1000, Epoch: memory.Epoch,
		},
		ProviderLeaseID: l.ProviderLeaseID, Metadata: l.Metadata,
	})
	require.NoError(w, err)
}

func TestWhatALostLeaseHadOfAnOlderOneIsTheOlderOnesAgainOnceTheLogIsAdopted(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		first, kept := w.retained(reusing)
		used := w.acquire()
		active := w.isLease(lease.StatusActive, used)
		w.lost(kept)
		w.lost(active)
		w.destroy(first)
		w.pass(time.Minute)
		require.Len(t, w.driver.Live(), 2, "within one epoch a newer holder is a newer holder")

		w.epochs.Add(1)
		w.pass(10 * time.Minute)
		w.isLease(lease.StatusRetained, first)
		require.Len(t, w.driver.Live(), 1)
		w.hasEnded(execution.EndExited, w.exec(used, "echo"))
		w.release(used)
		w.isLease(lease.StatusReleased, used)
		require.Empty(t, w.driver.Live())
	})
}
