package deadlines_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations/pgtest"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/deadlines"
	"github.com/tenure-dev/tenure/projections/projectionstest"
	"github.com/tenure-dev/tenure/projections/runner"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var everything = deadlines.Scope{Partitions: eventstore.AllPartitions()}

func open(t *testing.T) (*pgxpool.Pool, *pg.Store) {
	t.Helper()
	pool := pgtest.Pool(t)
	store, err := pg.Open(context.Background(), pool, pg.Options{})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	return pool, store
}

// keep keeps the read model until the test ends, and waits until it is at a position of the log.
func keep(t *testing.T, pool *pgxpool.Pool, store *pg.Store, position int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := runner.New(pool, store, []projections.Model{deadlines.Model}, runner.Options{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	require.NoError(t, r.Wait(t.Context(), position))
}

func TestTheSupervisorsQuestions(t *testing.T) {
	t.Parallel()
	pool, store := open(t)
	h := projectionstest.NewHistory(t)
	other := domaintest.ID[domain.WorkerID](77)
	late := h.Now().Add(time.Hour).Truncate(time.Microsecond)
	queued, granted, claimed := uuid.New(), uuid.New(), uuid.New()
	for _, id := range []uuid.UUID{queued, granted, claimed} {
		h.Lease(id, lease.Request{Requested: domaintest.LeaseRequested()})
	}
	h.Lease(granted, lease.Grant{Slot: 1})
	h.Lease(claimed, lease.Grant{Slot: 2})
	h.Lease(claimed, lease.StartProvisioning{Runtime: domaintest.Runtime, Worker: worker, Now: h.Now(), Deadline: late, Node: domaintest.Node})
	exec := uuid.New()
	h.Exec(exec, execution.Request{Requested: domaintest.ExecRequested()})
	h.Exec(exec, execution.Claim{Worker: other})
	last := projectionstest.Append(t, store, h.Events)

	keep(t, pool, store, last)

	due, position, err := deadlines.Due(t.Context(), pool, everything, time.Now().Add(24*time.Hour), 10)
	require.NoError(t, err)
	require.Equal(t, last, position)
	require.ElementsMatch(t, []uuid.UUID{granted, claimed}, []uuid.UUID{due[0].Data.ID, due[1].Data.ID}, "neither the queue nor a running command")
	due, _, err = deadlines.Due(t.Context(), pool, everything, time.Now().Add(24*time.Hour), 1)
	require.NoError(t, err)
	require.Len(t, due, 1)

	// What is of another partition is somebody else's to do, unless it is on one's own node.
	of := func(s deadlines.Scope) []uuid.UUID {
		rows, _, err := deadlines.Due(t.Context(), pool, s, time.Now().Add(24*time.Hour), 10)
		require.NoError(t, err)
		return ids(rows)
	}
	require.Contains(t, of(deadlines.Scope{Partitions: []int{eventstore.PartitionOf(granted)}}), granted)
	others := slices.DeleteFunc(eventstore.AllPartitions(), func(n int) bool { return n == eventstore.PartitionOf(claimed) })
	require.NotContains(t, of(deadlines.Scope{Partitions: others}), claimed)
	require.Contains(t, of(deadlines.Scope{Partitions: others, Node: domaintest.Node}), claimed)
	require.Equal(t, []uuid.UUID{claimed}, of(deadlines.Scope{Partitions: []int{}, Node: domaintest.Node}))
	resident, _, err := deadlines.OfNode(t.Context(), pool, domaintest.Node)
	require.NoError(t, err)
	require.Len(t, resident, 1)

	workers, _, err := deadlines.Workers(t.Context(), pool)
	require.NoError(t, err)
	require.ElementsMatch(t, []domain.WorkerID{worker, other}, workers)
	mine, _, err := deadlines.OfWorker(t.Context(), pool, everything, other)
	require.NoError(t, err)
	require.Len(t, mine, 1)
	require.Equal(t, exec, mine[0].Data.ID)
	require.Equal(t, deadlines.KindExec, mine[0].Data.Kind)
	require.Equal(t, eventstore.PartitionOf(domaintest.ExecRequested().Lease.UUID), mine[0].Data.Partition, "a command goes with its lease")

	at, ok, err := deadlines.Next(t.Context(), pool, late.Add(-time.Minute))
	require.NoError(t, err)
	if ok {
		require.True(t, at.After(late.Add(-time.Minute)))
	}
}
