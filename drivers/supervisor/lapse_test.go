package supervisor_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
)

// away lets no process of the world say that it lives, or reach the log, for a time. Then first comes back, and the others after
// pause.
func (w *world) away(long, pause time.Duration, first *node, others ...*node) {
	w.Helper()
	for _, n := range append(others, first) {
		w.processes.Silence(n.process.ID)
		n.link.down.Store(true)
	}
	w.pass(long)
	back := func(n *node) {
		n.link.down.Store(false)
		w.processes.Speak(n.process.ID)
	}
	back(first)
	w.pass(pause)
	for _, n := range others {
		back(n)
	}
}

func TestWhoComesBackFirstAfterAnOutageTakesNobodyForDead(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		a, b := w.start(supervisor.Options{}), w.start(supervisor.Options{})
		var execs []domain.ExecID
		for _, n := range []*node{a, b} {
			id := w.acquire(ownedBy(n))
			w.isLease(lease.StatusActive, id)
			x := w.exec(id, "sleep")
			require.Equal(t, n.process.ID, w.isExec(execution.StatusRunning, x).Worker)
			execs = append(execs, x)
		}
		w.away(time.Minute, 2*time.Second, a, b)
		w.pass(time.Minute)
		for _, x := range execs {
			w.isExec(execution.StatusRunning, x)
		}
	})
}

func TestWhoDoesNotComeBackAfterAnOutageIsDeadInTheEnd(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		a, b := w.start(supervisor.Options{}), w.start(supervisor.Options{})
		id := w.acquire(ownedBy(b))
		w.isLease(lease.StatusActive, id)
		x := w.exec(id, "sleep")
		require.Equal(t, b.process.ID, w.isExec(execution.StatusRunning, x).Worker)
		b.crash()
		w.away(time.Minute, 0, a)
		w.pass(2 * within)
		w.hasEnded(execution.EndUnknown, x)
	})
}
