package pg_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// A process whose readers use up every connection still says that it lives, takes partitions and appends: it is not taken for
// dead because it is busy.
func TestABusyProcessIsNotTakenForDead(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	s := openPool(t, pool, pg.Options{})
	p := eventstore.Process{
		ID: domain.WorkerID{UUID: uuid.New()}, Node: domain.NodeID{UUID: uuid.New()}, Role: eventstore.RoleWorker,
		Serves: []string{"local", "ssh"}, Address: "host:1",
	}
	require.NoError(t, s.Processes().Register(t.Context(), p, time.Minute))
	for range pool.Config().MaxConns {
		conn, err := pool.Acquire(t.Context())
		require.NoError(t, err)
		defer conn.Release()
	}
	p.Draining, p.Serves = true, []string{"ssh"}
	require.NoError(t, s.Processes().Beat(t.Context(), p, time.Minute))
	list, err := s.Processes().List(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.True(t, list[0].Alive)
	p.StartedAt, p.AliveUntil, p.Alive, p.SeenAt = list[0].StartedAt, list[0].AliveUntil, true, list[0].SeenAt
	require.Equal(t, p, list[0])
	all, err := s.Partitions(t.Context())
	require.NoError(t, err)
	taken, err := s.TakePartitions(t.Context(), p.ID, all)
	require.NoError(t, err)
	require.Len(t, taken, eventstore.PartitionCount)
	require.NoError(t, s.Processes().Leave(t.Context(), p.ID))
}

// A process that is gone is known for a while: which machine it was, and since when it is away.
func TestTheRowOfAProcessThatIsGoneStaysForAWhile(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	processes := openPool(t, pool, pg.Options{}).Processes()
	process := func() eventstore.Process {
		return eventstore.Process{ID: domain.WorkerID{UUID: uuid.New()}, Node: domain.NodeID{UUID: uuid.New()}, Hostname: "build-7", Role: eventstore.RoleWorker}
	}
	left, old, again := process(), process(), process()
	require.NoError(t, processes.Register(t.Context(), left, time.Minute))
	require.NoError(t, processes.Register(t.Context(), old, time.Minute))
	require.NoError(t, processes.Leave(t.Context(), left.ID))
	require.NoError(t, processes.Leave(t.Context(), old.ID))
	list, err := processes.List(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.False(t, list[0].Alive)
	require.True(t, list[0].Left)
	require.Equal(t, "build-7", list[0].Hostname)
	require.ErrorIs(t, processes.Beat(t.Context(), left, time.Minute), eventstore.ErrProcessGone, "what has ended does not live again")

	_, err = pool.Exec(t.Context(), `UPDATE processes SET alive_until = alive_until - $2::interval WHERE id = $1`, old.ID.UUID, eventstore.ProcessKept)
	require.NoError(t, err)
	again.Node = left.Node
	require.NoError(t, processes.Register(t.Context(), again, time.Minute))
	list, err = processes.List(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1, "one of a node, and none of those that have long been gone")
	require.Equal(t, again.ID, list[0].ID)
}
