package runner_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations"
	"github.com/tenure-dev/tenure/migrations/pgtest"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/leases"
	"github.com/tenure-dev/tenure/projections/projectionstest"
	"github.com/tenure-dev/tenure/projections/runner"
)

// childURL makes this test program a process that runs the read models, rebuilds them, and stands still half way.
const childURL = "TENURE_RUNNER_TEST_URL"

// childBuilds makes such a process stand still in its first event, while it builds what has no table.
const childBuilds = "TENURE_RUNNER_TEST_BUILDS"

func TestMain(m *testing.M) {
	if url := os.Getenv(childURL); url != "" {
		if err := child(url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	pgtest.Main(m)
}

func child(url string) error {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	store, err := pg.Open(ctx, pool, pg.Options{})
	if err != nil {
		return err
	}
	head, err := store.Head(ctx)
	if err != nil {
		return err
	}
	f := &faulty{}
	if os.Getenv(childBuilds) != "" {
		f.set(func(*projections.Event) error {
			_, _ = fmt.Fprintln(os.Stdout, "builds")
			<-ctx.Done()
			return nil
		})
		return runner.New(pool, store, []projections.Model{f.model()}, runner.Options{BuildBehind: 1}).Run(ctx) // it is killed
	}
	r := runner.New(pool, store, []projections.Model{f.model()}, runner.Options{})
	go r.Run(ctx) //nolint:errcheck // it is killed
	if err := r.Wait(ctx, head.Position); err != nil {
		return err
	}
	f.set(func(e *projections.Event) error {
		if e.Position == head.Position/2 {
			_, _ = fmt.Fprintln(os.Stdout, "half")
			<-ctx.Done()
		}
		return nil
	})
	_, err = r.Rebuild(ctx, nil, nil)
	return err
}

// TestTheEngineIsKilledInTheMiddleOfARebuild is the kill of case A24, with a real process and a real signal.
func TestTheEngineIsKilledInTheMiddleOfARebuild(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pool := pgtest.Connect(t, url)
	require.NoError(t, migrations.Up(t.Context(), pool))
	e := newEngineOn(t, pool)
	events, streams := lives(t, 200)
	last := projectionstest.Append(t, e.store, interleave(events, 8))

	kill := startChild(t, "half", childURL+"="+url)
	kill()
	require.Equal(t, []string{leases.Model.Key().Table(1), leases.Model.Key().Table(2)}, e.tables(t))

	f := &faulty{}
	r := e.runner(runner.Options{}, f.model())
	run(t, r)
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last))
	soon(t, "the dead process's lock is gone", func() bool {
		_, err := r.Rebuild(t.Context(), nil, nil)
		return err == nil
	})
	require.Equal(t, []string{leases.Model.Key().Table(1), leases.Model.Key().Table(3)}, e.tables(t))
	require.EqualValues(t, 8, e.row(t, streams[199]).Version)
	e.sameAsLog(t, r, "leases")
}

// startChild starts such a process and waits until it says that it stands still.
func startChild(t *testing.T, says string, env ...string) (kill func()) {
	t.Helper()
	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), env...)
	process.Stderr = os.Stderr
	out, err := process.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, process.Start())
	t.Cleanup(func() { _ = process.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, says+"\n", line)
	return func() {
		t.Helper()
		require.NoError(t, process.Process.Kill())
		require.Error(t, process.Wait())
	}
}

// The last process that started is to build what has no table. If it dies before it is done, one that waits in its start does
// so; but not while somebody builds.
func TestWhoWaitsForTheFirstTablesBuildsThemIfTheirBuilderDies(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pool := pgtest.Connect(t, url)
	require.NoError(t, migrations.Up(t.Context(), pool))
	e := newEngineOn(t, pool)
	events, streams := lives(t, 2)
	last := projectionstest.Append(t, e.store, events)
	kill := startChild(t, "builds", childURL+"="+url, childBuilds+"=yes")

	opts := runner.Options{BuildBehind: 1, TakeOverAfter: 300 * time.Millisecond, PollInterval: 10 * time.Millisecond}
	owner := func() (owner string) {
		t.Helper()
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT owner FROM projection_pointers`).Scan(&owner))
		return owner
	}
	// next starts another one and waits until it is the one that is to build.
	next := func() (r *runner.Runner, stop func()) {
		t.Helper()
		before := owner()
		r = e.runner(opts, (&faulty{}).model())
		stop = run(t, r)
		soon(t, "it is the owner", func() bool { return owner() != before })
		return r, stop
	}
	waits, _ := next()
	_, stop := next()
	stop()
	// As if it had died.
	_, err := pool.Exec(t.Context(), `UPDATE projection_pointers SET owner = gen_random_uuid()`)
	require.NoError(t, err)
	dead := owner()
	require.Never(t, func() bool { return owner() != dead }, 3*opts.TakeOverAfter, 20*time.Millisecond, "it is being built")
	kill()
	require.NoError(t, waits.Wait(within(t, 2*time.Minute), last))
	<-waits.Ready()
	require.EqualValues(t, 8, e.row(t, streams[1]).Version)
}
