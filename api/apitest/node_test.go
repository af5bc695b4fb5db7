package apitest_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api"
	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// machine is a node with a process.
func (s *server) machine() eventstore.Process {
	s.t.Helper()
	p := eventstore.Process{
		ID: domain.WorkerID{UUID: uuid.New()}, Node: domain.NodeID{UUID: uuid.New()}, Hostname: "build-7", PID: 7, Version: "test",
		Role: eventstore.RoleWorker, Serves: []string{"local", eventstore.KeepsOf("local")},
	}
	require.NoError(s.t, s.store.Processes().Register(s.t.Context(), p, time.Minute))
	return p
}

// bound is an active lease whose runtime is on a machine.
func (s *server) bound(tn tenant, p eventstore.Process) wire.Lease {
	s.t.Helper()
	got, _, err := tn.client.AcquireLease(s.t.Context(), tn.company, tn.ask("slow sticky"))
	require.NoError(s.t, err)
	id := domain.LeaseID{UUID: got.Lease.ID}
	l, _, err := s.commands.ClaimProvisioning(s.t.Context(), commands.Caller{}, id, p.Node, lease.StartProvisioning{
		Runtime: domain.RuntimeID{UUID: uuid.New()}, Worker: p.ID, Deadline: s.commands.Ledger().Now().Add(time.Minute),
	}, commands.Need{})
	require.NoError(s.t, err)
	_, err = s.commands.FinishProvisioning(s.t.Context(), commands.Caller{}, id, lease.Provision{Attempt: l.Attempt, Worker: p.ID, Acquisition: lease.AcquisitionCreated})
	require.NoError(s.t, err)
	active, err := tn.client.Lease(s.t.Context(), got.Lease.ID)
	require.NoError(s.t, err)
	require.Equal(s.t, wire.LeaseActive, active.Status)
	return active
}

func (s *server) node(id domain.NodeID) wire.Node {
	s.t.Helper()
	list, err := s.admin.Nodes(s.t.Context(), client.MinPosition(s.head()))
	require.NoError(s.t, err)
	for _, n := range list.Items {
		if n.ID == id.UUID {
			return n
		}
	}
	s.t.Fatalf("no node %s in %+v", id, list.Items)
	return wire.Node{}
}

func TestNodesAreListedWithWhatIsOnThem(t *testing.T) {
	t.Parallel()
	s := start(t, func(d *api.Deps) { d.NodeGrace = time.Hour })
	tn := s.tenant("acme")
	p := s.machine()
	l := s.bound(tn, p)
	s.bound(tn, p)
	all, err := s.store.Partitions(t.Context())
	require.NoError(t, err)
	_, err = s.store.TakePartitions(t.Context(), p.ID, all[:5])
	require.NoError(t, err)
	n := s.node(p.Node)
	require.Equal(t, wire.NodeAlive, n.State)
	require.Equal(t, "build-7", *n.Hostname)
	require.Equal(t, p.ID.UUID, n.Process.ID)
	require.Equal(t, []string{"local"}, n.Drivers)
	require.Equal(t, 5, n.Partitions)
	require.Equal(t, int64(2), n.Leases)
	require.NotNil(t, n.LastSeenAt)
	require.Nil(t, n.Forgotten)

	p.Draining = true
	require.NoError(t, s.store.Processes().Beat(t.Context(), p, time.Minute))
	require.Equal(t, wire.NodeDraining, s.node(p.Node).State)
	require.NoError(t, s.store.Processes().Leave(t.Context(), p.ID))
	require.Equal(t, wire.NodeAway, s.node(p.Node).State, "a restart may take that long")
	workers, err := s.admin.Workers(t.Context())
	require.NoError(t, err)
	require.Empty(t, workers.Items, "it has ended")

	_, err = tn.client.ReleaseLease(t.Context(), l.ID, wire.Release{})
	require.NoError(t, err)
	require.Equal(t, int64(1), s.node(p.Node).Releasing)
	_, err = s.commands.LoseNode(t.Context(), commands.Caller{}, domain.LeaseID{UUID: l.ID}, p.Node)
	require.NoError(t, err)
	require.Equal(t, int64(1), s.node(p.Node).Waiting)
	l, err = tn.client.Lease(t.Context(), l.ID)
	require.NoError(t, err)
	require.Equal(t, wire.LeasePendingCleanup, l.Status)
	require.True(t, l.Cleanup.NodeLost)
	require.Equal(t, p.Node.UUID, *l.Cleanup.NodeID)
	require.Zero(t, l.Cleanup.Attempts)
	require.Nil(t, l.Cleanup.NextTryAt)
	require.Contains(t, *l.Cleanup.LastError, "node_lost")
}

func TestANodeIsForgottenOnceAndForAReason(t *testing.T) {
	t.Parallel()
	s := start(t, func(d *api.Deps) { d.NodeGrace = time.Millisecond })
	tn := s.tenant("acme")
	p := s.machine()
	l := s.bound(tn, p)
	forget := func(c *client.Client, id uuid.UUID, reason string, o ...client.CallOption) (wire.Node, error) {
		return c.ForgetNode(t.Context(), id, wire.ForgetNode{Reason: reason}, o...)
	}
	_, err := forget(s.admin, p.Node.UUID, "it burned")
	require.True(t, client.IsCode(err, "node_alive"), "%v", err)
	require.NoError(t, s.store.Processes().Leave(t.Context(), p.ID))
	_, err = forget(s.admin, p.Node.UUID, "")
	require.True(t, client.IsCode(err, "missing_field"), "%v", err)
	_, err = forget(s.admin, uuid.New(), "it burned")
	require.True(t, client.IsCode(err, "node_not_found"), "%v", err)
	for _, c := range []*client.Client{tn.operator, tn.client, tn.auditor} {
		_, err = forget(c, p.Node.UUID, "it burned")
		require.Error(t, err, "it is for those who may answer for every company")
	}
	require.Eventually(t, func() bool { return s.node(p.Node).State == wire.NodeLost }, 10*time.Second, 10*time.Millisecond)

	n, err := forget(s.admin, p.Node.UUID, "it burned", client.IdempotencyKey("k"))
	require.NoError(t, err)
	require.Equal(t, wire.NodeForgotten, n.State)
	require.Equal(t, "it burned", n.Forgotten.Reason)
	for _, o := range [][]client.CallOption{nil, {client.IdempotencyKey("k")}} {
		again, err := forget(s.admin, p.Node.UUID, "it burned", o...)
		require.NoError(t, err)
		require.Equal(t, n.Forgotten, again.Forgotten, "the same answer")
	}
	require.Equal(t, []string{"NodeForgotten"}, s.eventsOf(commands.Nodes.Stream(p.Node.UUID)))

	_, err = s.commands.ForgetRuntime(t.Context(), commands.Caller{}, domain.LeaseID{UUID: l.ID}, p.Node)
	require.NoError(t, err)
	l, err = tn.client.Lease(t.Context(), l.ID)
	require.NoError(t, err)
	require.Equal(t, wire.LeaseFailed, l.Status)
	require.True(t, l.Cleanup.NodeForgotten)
	require.Equal(t, "success", *l.CleanupStatus)
	require.Equal(t, wire.Balance{Created: 1, Destroyed: 1, LostRuntimes: []wire.LostRuntime{}}, s.balance())

	// It comes back: what was forgotten stays so, and it is one that lives.
	p.ID.UUID = uuid.New()
	require.NoError(t, s.store.Processes().Register(t.Context(), p, time.Minute))
	_, err = s.commands.ReturnNode(t.Context(), commands.Caller{}, p.Node, p.ID)
	require.NoError(t, err)
	n = s.node(p.Node)
	require.Equal(t, wire.NodeAlive, n.State)
	require.NotNil(t, n.Forgotten.ReturnedAt)
	_, err = s.commands.ForgetRuntime(t.Context(), commands.Caller{}, domain.LeaseID{UUID: s.bound(tn, p).ID}, p.Node)
	require.ErrorContains(t, err, "is not given up", "a node that lives has its runtimes")
}

func (s *server) eventsOf(stream eventstore.Stream) (names []string) {
	s.t.Helper()
	events, err := s.store.ReadStream(s.t.Context(), stream, 0, 0)
	require.NoError(s.t, err)
	for _, e := range events {
		require.NotZero(s.t, e.By.Actor, "it says who")
		names = append(names, e.Name)
	}
	return names
}

func TestACommandInALeaseWhoseNodeIsAwayIsToldToTryAgain(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	p := s.machine()
	l := s.bound(tn, p)
	once, err := client.New(s.url, tn.key, client.WithoutRetries())
	require.NoError(t, err)
	t.Cleanup(once.CloseIdleConnections)
	begin := func(key string) (wire.Exec, error) {
		return once.StartExec(t.Context(), l.ID, l.Fence, wire.StartExec{Argv: []string{"print", "x"}}, client.IdempotencyKey(key))
	}
	x, err := begin("before")
	require.NoError(t, err)
	require.NoError(t, s.store.Processes().Leave(t.Context(), p.ID))
	require.Eventually(t, func() bool {
		_, err = begin(uuid.NewString())
		return err != nil
	}, 10*time.Second, 50*time.Millisecond)
	away, ok := err.(*client.Problem) //nolint:errorlint // it is one
	require.True(t, ok, "%v", err)
	require.Equal(t, http.StatusServiceUnavailable, away.Status)
	require.Equal(t, "node_away", away.Code)
	require.True(t, away.Retryable)
	require.Positive(t, away.RetryAfter)
	again, err := begin("before")
	require.NoError(t, err, "what was accepted stays accepted")
	require.Equal(t, x.ID, again.ID)
}
