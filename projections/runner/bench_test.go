package runner_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations/pgtest"
	"github.com/tenure-dev/tenure/projections/catalog"
	"github.com/tenure-dev/tenure/projections/projectionstest"
	"github.com/tenure-dev/tenure/projections/runner"
)

// benchLives is how many leases the benchmarks' log holds; each has eight events.
const benchLives = 5000

func benchLog(b *testing.B) (*engine, int64) {
	pool := pgtest.Pool(b)
	store, err := pg.Open(context.Background(), pool, pg.Options{})
	require.NoError(b, err)
	b.Cleanup(store.Close)
	events := benchEvents(b)
	return &engine{pool: pool, store: store}, projectionstest.Append(b, store, events)
}

func benchEvents(b *testing.B) []eventstore.Recorded {
	events, _ := lives(b, benchLives)
	return interleave(events, 8)
}

// BenchmarkRebuild folds all read models anew from a log of leases.
func BenchmarkRebuild(b *testing.B) {
	e, last := benchLog(b)
	r := e.runner(runner.Options{BuildBehind: 1_000_000_000})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go r.Run(ctx) //nolint:errcheck // ends with the benchmark
	require.NoError(b, r.Wait(ctx, last))
	for b.Loop() {
		_, err := r.Rebuild(ctx, nil, nil)
		require.NoError(b, err)
	}
	b.ReportMetric(float64(last)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkPages brings all read models up by pages.
func BenchmarkPages(b *testing.B) {
	events := benchEvents(b)
	for b.Loop() {
		b.StopTimer()
		pool := pgtest.Pool(b)
		store, err := pg.Open(context.Background(), pool, pg.Options{})
		require.NoError(b, err)
		last := projectionstest.Append(b, store, events)
		r := runner.New(pool, store, catalog.All(), runner.Options{BuildBehind: 1_000_000_000})
		ctx, cancel := context.WithCancel(context.Background())
		b.StartTimer()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = r.Run(ctx)
		}()
		require.NoError(b, r.Wait(ctx, last))
		b.StopTimer()
		cancel()
		<-done
		store.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(len(events))*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkReadYourWrites appends one event and waits until every read model has it.
func BenchmarkReadYourWrites(b *testing.B) {
	e, last := benchLog(b)
	r := e.runner(runner.Options{BuildBehind: 1_000_000_000})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go r.Run(ctx) //nolint:errcheck // ends with the benchmark
	require.NoError(b, r.Wait(ctx, last))
	events, _ := lives(b, 100)
	n := 0
	for b.Loop() {
		last := projectionstest.Append(b, e.store, events[n%len(events):n%len(events)+1])
		require.NoError(b, r.Wait(ctx, last))
		n++
	}
}
