package runner_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations"
	"github.com/tenure-dev/tenure/migrations/pgtest"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/projectionstest"
	"github.com/tenure-dev/tenure/projections/runner"
)

// Case A41, for read models. A pooler gives each transaction another session, and has fewer of them than there are runners
// here: all the same they all start, one rebuild runs at a time, and after it the next one may.
func TestBehindAPoolerOneRebuildRunsAtATime(t *testing.T) {
	t.Parallel()
	pooled, _ := pgtest.NewPooler(t).Database(t)
	pool := pgtest.ConnectPooled(t, pooled)
	require.NoError(t, migrations.Up(t.Context(), pool))
	store, err := pg.Open(context.Background(), pool, pg.Options{})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	events, _ := lives(t, 5)
	last := projectionstest.Append(t, store, events)

	runners := make([]*runner.Runner, 8)
	for i := range runners {
		e := &engine{pool: pgtest.ConnectPooled(t, pooled), store: store}
		runners[i] = e.runner(runner.Options{})
		run(t, runners[i])
	}
	for _, r := range runners {
		require.NoError(t, r.Wait(within(t, 2*time.Minute), last))
	}

	f := &faulty{}
	inside, open := f.stopOnce(t)
	slow := runner.New(pool, store, []projections.Model{f.model()}, runner.Options{})
	done := make(chan error, 1)
	go func() {
		_, err := slow.Rebuild(context.Background(), nil, nil)
		done <- err
	}()
	<-inside
	_, err = runners[0].Rebuild(t.Context(), []string{"leases"}, nil)
	require.ErrorIs(t, err, runner.ErrRebuildRunning)
	open()
	require.NoError(t, <-done)
	for _, r := range runners[:2] {
		_, err = r.Rebuild(t.Context(), []string{"leases"}, nil)
		require.NoError(t, err)
	}
}
