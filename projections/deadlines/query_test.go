package deadlines_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations/pgtest"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/deadlines"
	"github.com/tenure-dev/tenure/projections/projectionstest"
	"github.com/tenure-dev/tenure/projections/runner"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestTheSupervisorsQuestions(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	store, err := pg.Open(context.Background(), pool, pg.Options{})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	h := projectionstest.NewHistory(t)
	other := domaintest.ID[domain.WorkerID](77)
	late := h.Now().Add(time.Hour).Truncate(time.Microsecond)
	queued, granted, claimed := uuid.New(), uuid.New(), uuid.New()
	for _, id := range []uuid.UUID{queued, granted, claimed} {
		h.Lease(id, lease.Request{Requested: domaintest.LeaseRequested()})
	}
	h.Lease(granted, lease.Grant{Slot: 1})
	h.Lease(claimed, lease.Grant{Slot: 2})
	h.Lease(claimed, lease.StartProvisioning{Runtime: domaintest.Runtime, Worker: worker, Now: h.Now(), Deadline: late})
	exec := uuid.New()
	h.Exec(exec, execution.Request{Requested: domaintest.ExecRequested()})
	h.Exec(exec, execution.Claim{Worker: other})
	last := projectionstest.Append(t, store, h.Events)

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
	require.NoError(t, r.Wait(t.Context(), last))

	due, position, err := deadlines.Due(t.Context(), pool, time.Now().Add(24*time.Hour), 10)
	require.NoError(t, err)
	require.Equal(t, last, position)
	require.ElementsMatch(t, []uuid.UUID{granted, claimed}, []uuid.UUID{due[0].Data.ID, due[1].Data.ID}, "neither the queue nor a running command")
	due, _, err = deadlines.Due(t.Context(), pool, time.Now().Add(24*time.Hour), 1)
	require.NoError(t, err)
	require.Len(t, due, 1)

	workers, _, err := deadlines.Workers(t.Context(), pool)
	require.NoError(t, err)
	require.ElementsMatch(t, []domain.WorkerID{worker, other}, workers)
	mine, _, err := deadlines.OfWorker(t.Context(), pool, other)
	require.NoError(t, err)
	require.Len(t, mine, 1)
	require.Equal(t, exec, mine[0].Data.ID)
	require.Equal(t, deadlines.KindExec, mine[0].Data.Kind)

	at, ok, err := deadlines.Next(t.Context(), pool, late.Add(-time.Minute))
	require.NoError(t, err)
	if ok {
		require.True(t, at.After(late.Add(-time.Minute)))
	}
}
