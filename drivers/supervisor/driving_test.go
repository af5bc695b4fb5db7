package supervisor_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
)

func TestNothingIsDrivenWhileTheLogWaitsForItsAdoption(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		released, expires, used := w.acquire(), w.acquire(lasting(time.Minute, time.Minute)), w.acquire()
		w.isLease(lease.StatusActive, used)
		w.isLease(lease.StatusActive, expires)
		runs := w.exec(used, "sleep")
		w.isExec(execution.StatusRunning, runs)
		calls := w.calls.number()

		w.forked.Store(true)
		asked := w.acquire()
		w.release(released)
		waits := w.exec(used, "echo")
		dead := w.prepare(supervisor.Options{}) // one that drives nothing, whatever it sees
		require.NoError(t, dead.Start(t.Context()))
		w.pass(10 * time.Minute)
		w.isLease(lease.StatusGranted, asked)
		w.isLease(lease.StatusReleasing, released)
		w.isLease(lease.StatusActive, expires)
		w.isExec(execution.StatusRequested, waits)
		w.isExec(execution.StatusRunning, runs)
		require.Equal(t, calls, w.calls.number(), "no driver was called")
		w.kill(runs, "enough")
		require.Equal(t, "enough", w.hasEnded(execution.EndKilled, runs).Why)

		w.forked.Store(false)
		w.pass(5 * time.Second)
		w.isLease(lease.StatusActive, asked)
		w.isLease(lease.StatusReleased, released)
		w.isLease(lease.StatusExpired, expires)
		w.hasEnded(execution.EndExited, waits)
	})
}

func (c *calls) number() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.all)
}
