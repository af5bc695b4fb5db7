package supervisor_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
)

// boundDriver is the fake on a node of its own: what it made exists there only.
type boundDriver struct{ *fake.Driver }

func (d boundDriver) Describe() drivers.Description {
	about := d.Driver.Describe()
	about.NodeBound = true
	return about
}

func TestWhatIsBoundToANodeIsDrivenThereWhileThatNodeLives(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		start := func() *node {
			registry, err := drivers.NewRegistry(boundDriver{fake.New(fake.Options{})})
			require.NoError(t, err)
			n := w.prepareWith(registry, supervisor.Options{})
			require.NoError(t, n.Start(t.Context()))
			return n
		}
		a := start()
		id := w.acquire()
		require.Equal(t, a.process.ID, w.isLease(lease.StatusActive, id).Worker)
		start()
		w.pass(within)
		// Only the other one hears of it.
		a.deaf.Store(true)
		x := w.exec(id, "echo")
		w.settled()
		w.isExec(execution.StatusRequested, x)
		w.pass(within)
		w.hasEnded(execution.EndExited, x)
		w.release(id)
		w.settled()
		require.Zero(t, w.isLease(lease.StatusReleasing, id).Teardown)
		w.pass(within)
		require.Equal(t, a.process.ID, w.isLease(lease.StatusReleased, id).Worker)
	})
}
