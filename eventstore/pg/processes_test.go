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
	p.StartedAt, p.AliveUntil, p.Alive = list[0].StartedAt, list[0].AliveUntil, true
	require.Equal(t, p, list[0])
	all, err := s.Partitions(t.Context())
	require.NoError(t, err)
	taken, err := s.TakePartitions(t.Context(), p.ID, all)
	require.NoError(t, err)
	require.Len(t, taken, eventstore.PartitionCount)
	require.NoError(t, s.Processes().Leave(t.Context(), p.ID))
}
