package supervisor_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	domainnode "github.com/tenure-dev/tenure/domain/node"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// grace is more than a node may be away before it counts as lost.
const grace = 70 * time.Second

// machine is a node whose runtimes nobody else can drive; its processes come and go.
type machine struct {
	*node
	outside *fake.Driver
}

func (w *world) machine(opts fake.Options) *machine {
	w.Helper()
	m := &machine{outside: fake.New(opts)}
	m.node = w.on(m)
	w.pass(within)
	return m
}

// on starts a process on a machine.
func (w *world) on(m *machine) *node {
	w.Helper()
	registry, err := drivers.NewRegistry(boundDriver{m.outside})
	require.NoError(w, err)
	var n *node
	if m.node == nil {
		n = w.prepareWith(registry, supervisor.Options{})
	} else {
		n = w.prepareWith(registry, supervisor.Options{}, m.process.Node)
	}
	require.NoError(w, n.Start(w.Context()))
	return n
}

// back starts the machine's process again.
func (m *machine) back() { m.node = m.w.on(m) }

// image changes what an environment's runtimes are made from.
func (w *world) image(id domain.EnvironmentID, image string) {
	w.Helper()
	_, err := w.client.ReconfigureEnvironment(w.Context(), commands.Caller{}, id, 0, func(r environment.Reconfigured) (environment.Reconfigured, error) {
		r.Config = []byte(`{"image": "` + image + `"}`)
		return r, nil
	}, commands.NoSecretFields)
	require.NoError(w, err)
}

// forget gives a machine up.
func (w *world) forget(m *machine) {
	w.Helper()
	_, err := w.client.ForgetNode(w.Context(), commands.Caller{}, m.process.Node, domainnode.Forgotten{Reason: "it burned"})
	require.NoError(w, err)
}

// activeOn is an active lease whose runtime is on a machine.
func (w *world) activeOn(m *machine, opts ...func(*commands.Acquire)) domain.LeaseID {
	w.Helper()
	id := w.acquire(append(opts, ownedBy(m.node))...)
	require.Equal(w, m.process.Node, w.isLease(lease.StatusActive, id).Node)
	return id
}

// keptOn is a lease that keeps its runtime, which is on a machine.
func (w *world) keptOn(m *machine) domain.LeaseID {
	w.Helper()
	id, l := w.retained(reusing, ownedBy(m.node))
	require.Equal(w, m.process.Node, l.Node)
	return id
}

func TestATeardownWaitsForItsLostNodeAndGoesOnWhenThatIsBack(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		a, b := w.machine(fake.Options{}), w.machine(fake.Options{})
		released, expiring, idle := w.activeOn(a), w.activeOn(a, lasting(5*time.Minute, time.Hour)), w.activeOn(a, lasting(time.Hour, 6*time.Minute))
		x := w.exec(idle, "sleep")
		w.isExec(execution.StatusRunning, x)
		a.crash()
		w.release(released)
		w.pass(30 * time.Second)
		require.Empty(t, w.isLease(lease.StatusReleasing, released).TeardownCode, "a restart is no loss")
		require.Equal(t, "worker_gone", w.hasEnded(execution.EndUnknown, x).Why)
		unstarted := w.exec(idle, "echo")
		w.pass(grace)
		l := w.isLease(lease.StatusPendingCleanup, released)
		require.Equal(t, lease.CodeNodeLost, l.TeardownCode)
		require.Equal(t, "node_lost", w.hasEnded(execution.EndStartFailed, unstarted).Code)

		w.pass(10 * time.Minute)
		for _, id := range []domain.LeaseID{released, expiring, idle} {
			l := w.isLease(lease.StatusPendingCleanup, id)
			require.True(t, l.Awaiting())
			require.Zero(t, l.Teardown, "nobody tried")
			require.Zero(t, l.TeardownFails)
			require.False(t, l.Quarantined)
			require.Equal(t, lease.CleanupPending, l.CleanupStatus())
			require.Equal(t, 1, w.count(streamOf(id), "LeaseNodeLost"), "it is said once")
		}
		require.Zero(t, b.outside.Released(), "nobody else is asked")
		require.Len(t, a.outside.Live(), 3)
		w.activeOn(b)

		a.back()
		w.pass(2 * time.Second)
		require.Equal(t, a.process.ID, w.isLease(lease.StatusReleased, released).Worker)
		w.isLease(lease.StatusExpired, expiring)
		w.isLease(lease.StatusExpired, idle)
		require.Empty(t, a.outside.Live())
		require.Equal(t, runtime.ProofReleased, w.runtime(w.lease(released).Runtime).Proof)
	})
}

func TestANodeThatIsBackWithinTheGraceWasNeverLost(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		a := w.machine(fake.Options{})
		w.machine(fake.Options{})
		killed, stopped := w.activeOn(a), w.activeOn(a)
		a.crash()
		w.release(killed)
		w.pass(50 * time.Second)
		a.back()
		w.pass(2 * time.Second)
		w.isLease(lease.StatusReleased, killed)
		a.stop()
		w.release(stopped)
		w.pass(50 * time.Second)
		w.isLease(lease.StatusReleasing, stopped)
		a.back()
		w.pass(2 * time.Second)
		w.isLease(lease.StatusReleased, stopped)
		for _, id := range []domain.LeaseID{killed, stopped} {
			require.Zero(t, w.count(streamOf(id), "LeaseNodeLost"))
		}
	})
}

func TestALeaseWhoseRuntimeWasBeingMadeOnALostNodeFailsAndIsCleanedWhenThatIsBack(t *testing.T) {
	g := &gate{}
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		g.opened = make(chan struct{})
		a := w.machine(fake.Options{Hooks: fake.Hooks{AfterAcquire: func(ctx context.Context, _ drivers.AcquireRequest) error { return g.wait(ctx) }}})
		w.machine(fake.Options{})
		making := w.acquire(ownedBy(a.node))
		w.isLease(lease.StatusProvisioning, making)
		a.crash()
		w.pass(grace)
		l := w.isLease(lease.StatusFailed, making)
		require.Equal(t, lease.CodeNodeLost, l.FailureCode)
		require.True(t, l.Awaiting())
		g.open()
		w.pass(time.Minute)
		require.Len(t, a.outside.Live(), 1, "it came to be all the same")
		a.back()
		w.pass(2 * time.Second)
		require.Equal(t, lease.CleanupSuccess, w.isLease(lease.StatusFailed, making).CleanupStatus())
		require.Empty(t, a.outside.Live())
	})
}

func TestWhatIsOnAForgottenNodeEndsWithThatProof(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		a, b := w.machine(fake.Options{}), w.machine(fake.Options{})
		full := w.register("fake", 1)
		waiting, expired, active, only := w.activeOn(a), w.activeOn(a, lasting(30*time.Second, time.Hour)), w.activeOn(a), w.activeOn(a, in(full))
		next := w.acquire(in(full))
		kept := w.keptOn(a)
		a.crash()
		w.release(waiting)
		w.pass(grace)
		w.isLease(lease.StatusPendingCleanup, waiting)
		w.isLease(lease.StatusRequested, next)
		w.forget(a)
		w.pass(2 * time.Second)
		require.Equal(t, lease.CleanupSuccess, w.isLease(lease.StatusReleased, waiting).CleanupStatus())
		w.isLease(lease.StatusExpired, expired)
		for _, id := range []domain.LeaseID{active, only} {
			require.Equal(t, lease.CodeNodeForgotten, w.isLease(lease.StatusFailed, id).FailureCode, "nobody can use it any more")
		}
		require.Equal(t, lease.RetentionForgotten, w.isLease(lease.StatusRetained, kept).RetentionEnd)
		for _, id := range []domain.LeaseID{waiting, expired, active, only, kept} {
			l := w.lease(id)
			require.True(t, l.Over())
			require.True(t, l.Forgotten)
			require.Equal(t, runtime.StatusDestroyed, w.runtime(l.Runtime).Status)
			require.Equal(t, runtime.ProofForgotten, w.runtime(l.Runtime).Proof)
		}
		require.Equal(t, b.process.Node, w.isLease(lease.StatusActive, next).Node, "its slot is free")
		l := w.isLease(lease.StatusActive, w.acquire(reusing))
		require.Equal(t, lease.AcquisitionCreated, l.Acquisition)
		require.Zero(t, b.outside.Released())
	})
}

func TestANodeThatIsBackAfterItWasForgottenDestroysWhatWas(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		a := w.machine(fake.Options{})
		b := w.machine(fake.Options{})
		first, other := w.activeOn(a), w.activeOn(a)
		a.crash()
		w.pass(grace)
		w.forget(a)
		w.pass(2 * time.Second)
		require.Len(t, a.outside.Live(), 2)
		stream := commands.Nodes.Stream(a.process.Node.UUID)
		require.Equal(t, []string{"NodeForgotten"}, w.names(stream))
		a.back()
		w.pass(2 * time.Second)
		require.Equal(t, []string{"NodeForgotten", "NodeReturned"}, w.names(stream))
		again := w.activeOn(a)
		w.pass(3 * time.Minute)
		require.Len(t, a.outside.Live(), 1, "what was forgotten is gone, and the node serves")
		for _, id := range []domain.LeaseID{first, other} {
			require.Equal(t, leak.ProofDestroyed, w.leak(w.lease(id).Runtime).Cleared.Proof)
		}

		// Having been forgotten once says nothing of the next time.
		a.crash()
		w.release(again)
		w.pass(5 * time.Minute)
		require.True(t, w.isLease(lease.StatusPendingCleanup, again).Awaiting())
		require.Zero(t, b.outside.Released())
	})
}

// Also where no environment leads any more.
func TestANodeThatIsBackLooksWhereWhatWasForgottenIs(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		a := w.machine(fake.Options{})
		w.machine(fake.Options{})
		w.activeOn(a)
		a.crash()
		w.pass(grace)
		w.forget(a)
		w.pass(2 * time.Second)
		_, err := w.client.RetireEnvironment(t.Context(), commands.Caller{}, w.environment, commands.Retirement{Delete: true})
		require.NoError(t, err)
		a.back()
		w.pass(4 * time.Minute)
		require.Empty(t, a.outside.Live())
	})
}

// A process that was only cut off and is given up meanwhile finds that out, and says that it is back.
func TestAProcessThatWasCutOffAndForgottenSaysThatItIsBack(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		a := w.machine(fake.Options{})
		w.machine(fake.Options{})
		held := w.activeOn(a)
		w.processes.Silence(a.process.ID)
		a.link.down.Store(true)
		w.pass(grace)
		w.forget(a)
		w.pass(2 * time.Second)
		w.isLease(lease.StatusFailed, held)
		a.link.down.Store(false)
		w.processes.Speak(a.process.ID)
		again, err := w.client.ForgetNode(t.Context(), commands.Caller{}, a.process.Node, domainnode.Forgotten{Reason: "again"})
		require.NoError(t, err)
		require.False(t, again.Changed)
		w.pass(4 * time.Minute)
		require.Equal(t, []string{"NodeForgotten", "NodeReturned"}, w.names(commands.Nodes.Stream(a.process.Node.UUID)))
		require.Empty(t, a.outside.Live())
		w.activeOn(a)
	})
}

func TestARuntimeKeptOnALostNodeIsAskedOfNobodyElseAndStaysKept(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		a, b := w.machine(fake.Options{}), w.machine(fake.Options{})
		kept := w.keptOn(a)
		a.crash()
		soon := w.acquire(reusing, ownedBy(b.node))
		w.pass(20 * time.Second)
		w.isLease(lease.StatusGranted, soon)
		w.pass(grace)
		later := w.acquire(reusing, ownedBy(b.node))
		w.pass(5 * time.Second)
		for _, id := range []domain.LeaseID{soon, later} {
			l := w.isLease(lease.StatusFailed, id)
			require.Equal(t, lease.CodeNodeLost, l.FailureCode)
			require.Contains(t, l.FailureMessage, a.process.Node.String())
			require.True(t, l.Over())
		}
		require.True(t, w.isLease(lease.StatusRetained, kept).Kept)
		require.Zero(t, b.outside.Made())
		require.Len(t, a.outside.Live(), 1)
		a.back()
		w.pass(2 * time.Second)
		again := w.acquire(reusing, ownedBy(b.node))
		w.pass(2 * time.Second)
		l := w.isLease(lease.StatusActive, again)
		require.Equal(t, lease.AcquisitionResumed, l.Acquisition)
		require.Equal(t, w.lease(kept).Runtime, l.Runtime)

		// Whoever waits for it gets another one once the node is given up.
		w.giveBack(again, lease.ReasonReleased)
		w.pass(2 * time.Second)
		w.isLease(lease.StatusRetained, again)
		a.crash()
		waits := w.acquire(reusing, ownedBy(b.node))
		w.pass(20 * time.Second)
		w.isLease(lease.StatusGranted, waits)
		w.forget(a)
		w.pass(5 * time.Second)
		l = w.isLease(lease.StatusActive, waits)
		require.Equal(t, lease.AcquisitionReplacement, l.Acquisition)
		require.Equal(t, lease.CodeNodeForgotten, l.AcquisitionReason)
		require.Equal(t, b.process.Node, l.Node)
	})
}

// What a kept runtime is made from may be another by now: then it goes, once its node is back, and holds nobody up.
func TestADriftedRuntimeOnALostNodeHoldsNobodyUp(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		a, b := w.machine(fake.Options{}), w.machine(fake.Options{})
		kept := w.keptOn(a)
		a.crash()
		w.image(w.environment, "newer")
		w.pass(grace)
		id := w.acquire(reusing, ownedBy(b.node))
		w.pass(5 * time.Second)
		require.Equal(t, b.process.Node, w.isLease(lease.StatusActive, id).Node)
		require.Equal(t, lease.RetentionDrift, w.lease(kept).RetentionEnd)
		require.True(t, w.lease(kept).Awaiting())
		a.back()
		w.pass(2 * time.Second)
		require.Empty(t, a.outside.Live())
	})
}

// What is listed as left on a node goes off the list with it, and comes back on it if the node does and has it still.
func TestTheLeaksOfAForgottenNodeAreNotListedAnyMore(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		a := w.machine(fake.Options{})
		w.machine(fake.Options{})
		forced := w.activeOn(a)
		a.crash()
		w.release(forced)
		w.pass(grace)
		w.isLease(lease.StatusPendingCleanup, forced)
		w.force(forced)
		l := w.isLease(lease.StatusReleased, forced)
		require.Equal(t, lease.CleanupFailed, l.CleanupStatus())
		w.pass(5 * time.Minute)
		require.Equal(t, leak.StatusOpen, w.leak(l.Runtime).Status, "nobody can look")
		w.forget(a)
		w.pass(2 * time.Minute)
		require.Equal(t, leak.ProofForgotten, w.leak(l.Runtime).Cleared.Proof)
		require.Equal(t, runtime.ProofForgotten, w.runtime(l.Runtime).Proof)
		require.Equal(t, lease.CleanupSuccess, w.lease(forced).CleanupStatus())
		a.back()
		w.pass(4 * time.Minute)
		require.Empty(t, a.outside.Live())
		require.Equal(t, leak.ProofDestroyed, w.leak(l.Runtime).Cleared.Proof)
	})
}
