package supervisor_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// owner is who has the partition of a lease.
func (w *world) owner(id domain.LeaseID) domain.WorkerID {
	w.Helper()
	all, err := w.store.Partitions(w.Context())
	require.NoError(w, err)
	return all[eventstore.PartitionOf(id.UUID)].Owner
}

// ownedBy gives a lease an id in a partition of a process.
func ownedBy(n *node) func(*commands.Acquire) {
	return func(a *commands.Acquire) {
		for n.w.owner(a.Lease) != n.process.ID {
			a.Lease.UUID = uuid.New()
		}
	}
}

// partitionsOf counts those of a process.
func (w *world) partitionsOf(n *node) int {
	w.Helper()
	all, err := w.store.Partitions(w.Context())
	require.NoError(w, err)
	count := 0
	for _, p := range all {
		if p.Owner == n.process.ID {
			count++
		}
	}
	return count
}

func TestOnlyTheOwnerOfAPartitionActs(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		a, b, c := w.start(supervisor.Options{}), w.start(supervisor.Options{}), w.start(supervisor.Options{})
		w.pass(within)
		for _, n := range []*node{a, b, c} {
			require.InDelta(t, 21, w.partitionsOf(n), 1)
		}
		seen := map[domain.WorkerID]int{}
		for range 60 {
			id := w.acquire()
			l := w.isLease(lease.StatusActive, id) // at once: its owner has heard of it
			require.Equal(t, w.owner(id), l.Worker)
			x := w.exec(id, "echo")
			w.hasEnded(execution.EndExited, x)
			require.Equal(t, w.owner(id), w.execution(x).Worker, "a command goes with its lease")
			seen[l.Worker]++
			w.release(id)
			require.Equal(t, w.owner(id), w.isLease(lease.StatusReleased, id).Worker)
		}
		require.Len(t, seen, 3)
		require.Empty(t, w.driver.Live())
	})
}

func TestTheDeadlinesOfADeadOwnerAreMetByOthersWithinFiveSeconds(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		a, b := w.start(supervisor.Options{}), w.start(supervisor.Options{})
		w.pass(within)
		ids := []domain.LeaseID{w.acquire(ownedBy(a)), w.acquire(ownedBy(b)), w.acquire(ownedBy(a), lasting(10*time.Second, time.Hour))}
		for _, id := range ids {
			w.isLease(lease.StatusActive, id)
		}
		w.pass(9 * time.Second)
		a.crash()
		requested := w.acquire(ownedBy(a))
		w.release(ids[0])
		w.pass(5 * time.Second)
		w.isLease(lease.StatusReleased, ids[0])
		w.isLease(lease.StatusExpired, ids[2])
		require.Equal(t, b.process.ID, w.isLease(lease.StatusActive, requested).Worker)
		require.Equal(t, eventstore.PartitionCount, w.partitionsOf(b))
	})
}

// A process that cannot say that it lives hears on and takes itself for the owner. The log knows better.
func TestAnOwnerThatWasTakenForDeadClaimsNothing(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		a, b := w.start(supervisor.Options{}), w.start(supervisor.Options{})
		w.pass(within)
		w.processes.Silence(a.process.ID)
		w.pass(within)
		b.deaf.Store(true) // so that a is first to hear of it
		for range 20 {
			id := w.acquire()
			w.settled()
			require.Zero(t, w.lease(id).Attempt)
			w.pass(2 * time.Second)
			require.Equal(t, b.process.ID, w.isLease(lease.StatusActive, id).Worker)
		}
	})
}

func TestAnAttemptGoesOnWhereItIsWhenItsPartitionIsHandedOver(t *testing.T) {
	g := make(chan *gate, 1)
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: firstAttempt(g)}}, func(t *testing.T, w *world) {
		slow := newGate()
		g <- slow
		a := w.start(supervisor.Options{})
		var ids []domain.LeaseID
		for range 32 {
			ids = append(ids, w.acquire())
		}
		w.settled()
		b := w.start(supervisor.Options{}) // it takes half of the partitions
		w.pass(time.Minute)
		ids = slices.DeleteFunc(ids, func(id domain.LeaseID) bool { return w.owner(id) == a.process.ID })
		require.NotEmpty(t, ids)
		for _, id := range ids {
			l := w.isLease(lease.StatusProvisioning, id)
			require.Equal(t, 1, l.Attempt)
			require.Equal(t, a.process.ID, l.Worker)
		}
		slow.open()
		for _, id := range ids {
			require.Equal(t, a.process.ID, w.isLease(lease.StatusActive, id).Worker)
			w.release(id)
			require.Equal(t, b.process.ID, w.isLease(lease.StatusReleased, id).Worker)
		}
	})
}

// A process that ends gives away what it has before it begins nothing new any more: nobody waits meanwhile.
func TestAProcessThatEndsHandsOverWithoutAGap(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		a, b := w.start(supervisor.Options{}), w.start(supervisor.Options{})
		w.pass(within)
		x := w.exec(w.active(a), "sleep")
		w.isExec(execution.StatusRunning, x)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			a.HandOver(context.WithoutCancel(t.Context()))
			a.stop()
		}()
		for range 100 {
			id := w.acquire()
			w.pass(10 * time.Millisecond)
			w.isLease(lease.StatusActive, id)
			if w.partitionsOf(a) == 0 {
				break
			}
		}
		require.Equal(t, eventstore.PartitionCount, w.partitionsOf(b))
		w.isExec(execution.StatusRunning, x)
		<-ended
		require.Equal(t, "engine_shutdown", w.hasEnded(execution.EndKilled, x).Why)
	})
}

// active is an active lease of a process.
func (w *world) active(n *node) domain.LeaseID {
	w.Helper()
	id := w.acquire(ownedBy(n))
	w.isLease(lease.StatusActive, id)
	return id
}

func TestAnOwnerLeavesWhatItCannotDriveToOneThatCan(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		lacking, err := drivers.NewRegistry(fake.New(fake.Options{Name: "other"}))
		require.NoError(t, err)
		a := w.prepareWith(lacking, supervisor.Options{})
		require.NoError(t, a.Start(t.Context()))
		require.Equal(t, "driver_unavailable", w.isLease(lease.StatusFailed, w.acquire()).FailureCode, "nobody can")

		b := w.start(supervisor.Options{})
		w.pass(within)
		require.Equal(t, b.process.ID, w.isLease(lease.StatusActive, w.acquire(ownedBy(a))).Worker)
		c := w.start(supervisor.Options{})
		w.pass(within)
		seen := map[domain.WorkerID]int{}
		for range 40 {
			id := w.acquire(ownedBy(a))
			l := w.isLease(lease.StatusActive, id)
			require.NotEqual(t, a.process.ID, l.Worker)
			seen[l.Worker]++
			x := w.exec(id, "echo")
			w.hasEnded(execution.EndExited, x)
			w.release(id)
			w.isLease(lease.StatusReleased, id)
		}
		require.Len(t, seen, 2, "each of those that can has its part")
		short := w.acquire(ownedBy(a), lasting(time.Second, time.Second))
		w.pass(3 * time.Second)
		w.isLease(lease.StatusExpired, short)
		b.crash()
		w.pass(within)
		require.Equal(t, c.process.ID, w.isLease(lease.StatusActive, w.acquire(ownedBy(a))).Worker)
	})
}

// The row of a dead process says when it counts as dead; nobody waits for a beat of its own after that.
func TestThePartitionsOfADeadProcessAreTakenAsSoonAsItCountsAsDead(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		w.pass(300 * time.Millisecond)
		dies := w.start(supervisor.Options{})
		w.pass(350 * time.Millisecond)
		w.start(supervisor.Options{})
		for range 5 {
			w.pass(2700 * time.Millisecond)
		}
		require.Positive(t, w.partitionsOf(dies))
		dies.crash()
		list, err := w.processes.List(t.Context())
		require.NoError(t, err)
		for _, p := range list {
			if p.ID == dies.process.ID {
				w.pass(time.Until(p.AliveUntil))
			}
		}
		require.Positive(t, w.partitionsOf(dies), "it might live")
		w.pass(150 * time.Millisecond)
		require.Zero(t, w.partitionsOf(dies))
	})
}
