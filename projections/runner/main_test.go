package runner_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations/pgtest"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/catalog"
	"github.com/tenure-dev/tenure/projections/leases"
	"github.com/tenure-dev/tenure/projections/projectionstest"
	"github.com/tenure-dev/tenure/projections/runner"
)

// engine is a log and what keeps its read models.
type engine struct {
	pool  *pgxpool.Pool
	store *pg.Store
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	return newEngineOn(t, pgtest.Pool(t))
}

func newEngineOn(t *testing.T, pool *pgxpool.Pool) *engine {
	t.Helper()
	store, err := pg.Open(context.Background(), pool, pg.Options{})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	return &engine{pool: pool, store: store}
}

// models are read models to run; none are all of the catalog.
func (e *engine) runner(opts runner.Options, models ...projections.Model) *runner.Runner {
	if len(models) == 0 {
		models = catalog.All()
	}
	return runner.New(e.pool, e.store, models, opts)
}

// run runs r until stop is called or the test ends.
func run(t *testing.T, r *runner.Runner) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { _ = r.Run(ctx) })
	stop = func() {
		cancel()
		done.Wait()
	}
	t.Cleanup(stop)
	return stop
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, errors.New("the test waits no longer"))
	t.Cleanup(cancel)
	return ctx
}

// soon waits until something holds, looking at it again whenever the runner may have moved.
func soon(t *testing.T, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, 3*time.Minute, 5*time.Millisecond, what)
}

// lives makes the whole lives of n leases, from request to release, and returns their streams.
func lives(t testing.TB, n int) ([]eventstore.Recorded, []eventstore.Stream) {
	h := projectionstest.NewHistory(t)
	streams := make([]eventstore.Stream, n)
	for i := range n {
		id := uuid.New()
		streams[i] = eventstore.StreamOf(lease.Category, id)
		request := domaintest.LeaseRequested()
		request.Run = fmt.Sprintf("run-%d", i%10)
		for _, c := range []lease.Command{
			lease.Request{Requested: request},
			lease.Grant{Slot: 1},
			lease.StartProvisioning{Runtime: domaintest.Runtime, Worker: domaintest.Worker, Now: h.Now(), Deadline: h.Now().Add(time.Minute)},
			lease.Provision{Attempt: 1, Worker: domaintest.Worker, Acquisition: lease.AcquisitionCreated, Now: h.Now()},
			lease.Renew{Now: h.Now().Add(2 * time.Minute)},
			lease.Release{Reason: lease.ReasonReleased},
			lease.StartRelease{Worker: domaintest.Worker, Now: h.Now(), Deadline: h.Now().Add(time.Minute)},
			lease.FinishRelease{Attempt: 1, Worker: domaintest.Worker},
		} {
			h.Lease(id, c)
		}
	}
	require.Len(t, h.Events, 8*n)
	return h.Events, streams
}

// interleave mixes the lives: all first events, then all second ones …
func interleave(events []eventstore.Recorded, per int) []eventstore.Recorded {
	out := make([]eventstore.Recorded, 0, len(events))
	for v := range per {
		for i := v; i < len(events); i += per {
			out = append(out, events[i])
		}
	}
	return out
}

// sameAsLog requires that a read model is what a fold of the log from nothing gives.
func (e *engine) sameAsLog(t *testing.T, r *runner.Runner, names ...string) {
	t.Helper()
	for _, name := range names {
		report, err := r.Verify(t.Context(), name, nil)
		require.NoError(t, err)
		require.True(t, report.Compared)
		require.Zero(t, report.Differences, "%s: %+v", name, report.First)
	}
}

func (e *engine) row(t *testing.T, stream eventstore.Stream) leases.Row {
	t.Helper()
	id, err := stream.ID()
	require.NoError(t, err)
	var q projections.Question
	q.Where("stream = $", string(stream))
	page, err := leases.Model.List(t.Context(), e.pool, q, projections.OldestFirst, projections.Options{})
	require.NoError(t, err)
	if len(page.Items) == 0 {
		return leases.Row{}
	}
	require.Equal(t, domain.LeaseID{UUID: id}, page.Items[0].Data.ID)
	return page.Items[0]
}
