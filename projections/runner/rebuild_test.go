package runner_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/catalog"
	"github.com/tenure-dev/tenure/projections/deadlines"
	"github.com/tenure-dev/tenure/projections/leases"
	"github.com/tenure-dev/tenure/projections/projectionstest"
	"github.com/tenure-dev/tenure/projections/runner"
)

// tables are the tables of generations that exist.
func (e *engine) tables(t *testing.T) []string {
	t.Helper()
	rows, err := e.pool.Query(t.Context(), `
		SELECT relname::text FROM pg_class
		 WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname ~ '_v[0-9]+_g[0-9]+$'
		 ORDER BY 1`)
	require.NoError(t, err)
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		names = append(names, name)
	}
	require.NoError(t, rows.Err())
	return names
}

// TestARebuildWhileEventsArriveAndReadersRead is the heart of case A24, with 50,000 events.
func TestARebuildWhileEventsArriveAndReadersRead(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	r := e.runner(runner.Options{})
	before, _ := lives(t, 6000)
	last := projectionstest.Append(t, e.store, interleave(before, 8))
	run(t, r)
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last))

	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	// 200 events a second arrive.
	more, _ := lives(t, 250)
	more = interleave(more, 8)
	var appended, highest atomic.Int64
	work.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for len(more) > 4 && ctx.Err() == nil {
			appended.Store(projectionstest.Append(t, e.store, more[:4]))
			more = more[4:]
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	// Readers never see half a table, and never go back. A busy machine may have no time for one of them.
	var looks, late int
	work.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ; ctx.Err() == nil; <-tick.C {
			looks++
			page, err := leases.List(t.Context(), e.pool, leases.Filter{}, projections.Options{Limit: 100})
			if errors.Is(err, context.DeadlineExceeded) {
				late++
				continue
			}
			if err != nil {
				t.Error(err)
				return
			}
			if len(page.Items) < 100 || page.Position < highest.Load() {
				t.Errorf("a reader saw %d leases at %d, after %d", len(page.Items), page.Position, highest.Load())
				return
			}
			highest.Store(page.Position)
		}
	})
	reports, err := r.Rebuild(within(t, 4*time.Minute), nil, nil)
	require.NoError(t, err)
	require.Len(t, reports, len(catalog.All()))
	for _, report := range reports {
		require.True(t, report.Compared, report.Name)
		require.Zero(t, report.Differences, "%s: %+v", report.Name, report.First)
	}
	cancel()
	work.Wait()
	require.Less(t, late, looks/10+2, "of %d looks", looks)
	require.Greater(t, highest.Load(), last)
	require.NoError(t, r.Wait(within(t, 2*time.Minute), appended.Load()))
	e.sameAsLog(t, r, "leases")
	require.Len(t, e.tables(t), 2*len(catalog.All()), "one previous generation is kept")
}

func TestASecondRebuildIsRefusedWhileTheFirstRuns(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	f := &faulty{}
	r := e.runner(runner.Options{}, f.model())
	run(t, r)
	events, _ := lives(t, 5)
	last := projectionstest.Append(t, e.store, events)
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last))
	inside, open := f.stopOnce(t)
	done := make(chan error, 1)
	go func() {
		_, err := r.Rebuild(context.Background(), []string{"leases"}, nil)
		done <- err
	}()
	<-inside
	status, err := r.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, runner.StateRebuilding, status[0].State)
	require.Equal(t, last, status[0].Rebuild.Total)
	_, err = e.runner(runner.Options{}, f.model()).Rebuild(t.Context(), []string{"leases"}, nil)
	require.ErrorIs(t, err, runner.ErrRebuildRunning)
	_, err = r.Verify(t.Context(), "leases", nil)
	require.ErrorIs(t, err, runner.ErrRebuildRunning)
	require.ErrorIs(t, r.Back(t.Context(), "leases"), runner.ErrRebuildRunning)
	open()
	require.NoError(t, <-done)
	_, err = r.Rebuild(t.Context(), []string{"nonsense"}, nil)
	require.ErrorIs(t, err, runner.ErrUnknown)
}

// A process that starts sweeps what another one left, which takes a moment. Who rebuilds just then is not told that a rebuild
// runs.
func TestARebuildWaitsAMomentForItsTurn(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	r := e.runner(runner.Options{})
	run(t, r)
	tx, err := e.pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `
		SELECT pg_advisory_xact_lock(hashtextextended(concat_ws(' ', 'tenure', 'build', current_schema(), $1::text), 0))`, leases.Model.Key().String())
	require.NoError(t, err)
	time.AfterFunc(100*time.Millisecond, func() { _ = tx.Rollback(context.Background()) })
	_, err = r.Rebuild(t.Context(), []string{"leases"}, nil)
	require.NoError(t, err)
}

func TestARebuildThatIsAbortedLeavesEverythingAsItWas(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	f := &faulty{}
	r := e.runner(runner.Options{}, f.model())
	run(t, r)
	events, streams := lives(t, 5)
	last := projectionstest.Append(t, e.store, events)
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last))
	before := e.tables(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	f.set(func(*projections.Event) error {
		cancel(enough)
		return nil
	})
	_, err := r.Rebuild(ctx, []string{"leases"}, nil)
	require.Error(t, err)
	require.Equal(t, before, e.tables(t))
	require.EqualValues(t, 8, e.row(t, streams[4]).Version)
	f.set(nil)
	_, err = r.Rebuild(t.Context(), []string{"leases"}, nil)
	require.NoError(t, err)
}

// TestWhatAKilledRebuildLeftIsSwept is the rest of case A24: the process was killed in the middle.
func TestWhatAKilledRebuildLeftIsSwept(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	r := e.runner(runner.Options{}, leases.Model)
	stop := run(t, r)
	events, streams := lives(t, 20)
	last := projectionstest.Append(t, e.store, events)
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last))
	stop()
	// The remains of a killed process: a half-filled table, its checkpoint and its progress, and no lock.
	_, err := e.pool.Exec(t.Context(), leases.Model.Schema().Create(2))
	require.NoError(t, err)
	_, err = e.pool.Exec(t.Context(), `UPDATE projection_pointers SET last_generation = 2`)
	require.NoError(t, err)
	_, err = e.pool.Exec(t.Context(), `INSERT INTO projection_checkpoints (name, revision, generation, position, epoch, complete) VALUES ('leases', $1, 2, 80, 1, false)`, leases.Model.Revision)
	require.NoError(t, err)
	_, err = e.pool.Exec(t.Context(), `INSERT INTO projection_rebuilds (name, revision, generation, done, total, started_at) VALUES ('leases', $1, 2, 80, 160, now())`, leases.Model.Revision)
	require.NoError(t, err)

	r = e.runner(runner.Options{}, leases.Model)
	run(t, r)
	<-r.Ready()
	require.Equal(t, []string{leases.Model.Key().Table(1)}, e.tables(t))
	status, err := r.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, runner.StateLive, status[0].State)
	reports, err := r.Rebuild(t.Context(), nil, nil)
	require.NoError(t, err)
	require.EqualValues(t, 3, reports[0].Generation)
	require.EqualValues(t, 8, e.row(t, streams[19]).Version)
}

func TestARebuildMendsAWrongTableAndSaysWhatWasWrong(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	r := e.runner(runner.Options{}, leases.Model)
	run(t, r)
	events, streams := lives(t, 20)
	last := projectionstest.Append(t, e.store, events)
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last))
	_, err := e.pool.Exec(t.Context(), `UPDATE `+leases.Model.Key().Table(1)+` SET run = 'forged' WHERE stream = $1`, string(streams[3]))
	require.NoError(t, err)
	_, err = e.pool.Exec(t.Context(), `DELETE FROM `+leases.Model.Key().Table(1)+` WHERE stream = $1`, string(streams[7]))
	require.NoError(t, err)

	report, err := r.Verify(t.Context(), "leases", nil)
	require.NoError(t, err)
	require.EqualValues(t, 2, report.Differences)
	require.Equal(t, streams[3], report.First.Stream)
	require.Equal(t, runner.RowOther, report.First.What)
	require.Contains(t, report.First.Live, "forged")
	require.Equal(t, "LeaseReleased", report.First.Event)
	require.EqualValues(t, 32, report.First.Position)
	require.Len(t, e.tables(t), 1, "a verification leaves nothing")

	var told []runner.Progress
	reports, err := r.Rebuild(t.Context(), []string{"leases"}, func(p runner.Progress) { told = append(told, p) })
	require.NoError(t, err)
	require.EqualValues(t, 2, reports[0].Differences)
	require.EqualValues(t, 20, reports[0].Rows)
	require.Equal(t, last, told[len(told)-1].Done)
	require.Equal(t, last, told[len(told)-1].Total)
	e.sameAsLog(t, r, "leases")
	require.EqualValues(t, 8, e.row(t, streams[7]).Version)

	// Going back is one command, and brings the old one up to date first.
	more, newer := lives(t, 2)
	last = projectionstest.Append(t, e.store, more)
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last))
	require.NoError(t, r.Back(t.Context(), "leases"))
	require.Zero(t, e.row(t, streams[7]).Version, "the old table lacks it still")
	require.EqualValues(t, 8, e.row(t, newer[1]).Version)
	require.NoError(t, r.Back(t.Context(), "leases"))
	e.sameAsLog(t, r, "leases")
	last = projectionstest.Append(t, e.store, more)
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last), "the runner goes on after it")
}

// However small the wrong is, in whichever column, a verification finds it.
func TestAVerificationComparesEveryLetterOfARow(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	r := e.runner(runner.Options{}, leases.Model)
	run(t, r)
	events, streams := lives(t, 3)
	require.NoError(t, r.Wait(within(t, 2*time.Minute), projectionstest.Append(t, e.store, events)))
	for _, wrong := range []string{
		"data = (data::text || ' ')::json", "granted_at = NULL", "ended_at = ended_at + interval '1 microsecond'", "run = run || ' '",
		"company_id = NULL", "version = version - 1", "position = position + 1", "created = created - 1", "status = ''",
	} {
		_, err := e.pool.Exec(t.Context(), `CREATE TABLE was AS SELECT * FROM `+leases.Model.Key().Table(1))
		require.NoError(t, err)
		_, err = e.pool.Exec(t.Context(), `UPDATE `+leases.Model.Key().Table(1)+` SET `+wrong+` WHERE stream = $1`, string(streams[1]))
		require.NoError(t, err)
		report, err := r.Verify(t.Context(), "leases", nil)
		require.NoError(t, err)
		require.EqualValues(t, 1, report.Differences, wrong)
		require.Equal(t, streams[1], report.First.Stream, wrong)
		_, err = e.pool.Exec(t.Context(), `TRUNCATE `+leases.Model.Key().Table(1))
		require.NoError(t, err)
		_, err = e.pool.Exec(t.Context(), `INSERT INTO `+leases.Model.Key().Table(1)+` SELECT * FROM was`)
		require.NoError(t, err)
		_, err = e.pool.Exec(t.Context(), `DROP TABLE was`)
		require.NoError(t, err)
	}
	e.sameAsLog(t, r, "leases")
}

// A rebuild that may hold only a few rows in memory makes the same tables: what comes after them it takes by pages.
func TestARebuildHoldsNoMoreRowsInMemoryThanItMay(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	r := e.runner(runner.Options{MaxFolded: 7, PageSize: 10})
	run(t, r)
	events, streams := lives(t, 40)
	last := projectionstest.Append(t, e.store, interleave(events, 8))
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last))
	reports, err := r.Rebuild(t.Context(), nil, nil)
	require.NoError(t, err)
	for _, report := range reports {
		require.True(t, report.Compared, report.Name)
		require.Zero(t, report.Differences, report.Name)
		require.Equal(t, last, report.Position, report.Name)
	}
	e.sameAsLog(t, r)
	require.EqualValues(t, 8, e.row(t, streams[39]).Version)
}

func TestThereIsNoWayBackBeforeTheFirstRebuild(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	r := e.runner(runner.Options{}, leases.Model)
	run(t, r)
	<-r.Ready()
	require.ErrorIs(t, r.Back(t.Context(), "leases"), runner.ErrNoPrevious)
	require.ErrorIs(t, r.Back(t.Context(), "nonsense"), runner.ErrUnknown)
}

// TestReplayAppendsNothing is case A25, as far as read models go: a rebuild of everything adds no event.
func TestReplayAppendsNothing(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	r := e.runner(runner.Options{})
	run(t, r)
	events, _ := lives(t, 100)
	last := projectionstest.Append(t, e.store, interleave(events, 8))
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last))
	_, err := r.Rebuild(t.Context(), nil, nil)
	require.NoError(t, err)
	head, err := e.store.Head(t.Context())
	require.NoError(t, err)
	require.Equal(t, last, head.Position)
	var rows int
	require.NoError(t, e.pool.QueryRow(t.Context(), `SELECT count(*) FROM `+deadlines.Model.Key().Table(2)).Scan(&rows))
	require.Zero(t, rows, "nothing is to be done for finished leases")
	var inputs int
	require.NoError(t, e.pool.QueryRow(t.Context(), `SELECT count(*) FROM inputs`).Scan(&inputs))
	require.Zero(t, inputs)
}

func TestARebuildThatLostItsLockGivesWayToTheNext(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	f := &faulty{}
	r := e.runner(runner.Options{}, f.model())
	run(t, r)
	events, streams := lives(t, 5)
	last := projectionstest.Append(t, e.store, events)
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last))
	inside, open := f.stopOnce(t)
	done := make(chan error, 1)
	go func() {
		_, err := r.Rebuild(context.Background(), []string{"leases"}, nil)
		done <- err
	}()
	<-inside
	tag, err := e.pool.Exec(t.Context(), `
		SELECT pg_terminate_backend(l.pid)
		  FROM pg_locks l
		 WHERE l.locktype = 'advisory'
		   AND (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended(concat_ws(' ', 'tenure', 'build', current_schema(), $1::text), 0)`, leases.Model.Key().String())
	require.NoError(t, err)
	require.EqualValues(t, 1, tag.RowsAffected())
	soon(t, "the lock is free", func() bool {
		_, err = r.Rebuild(t.Context(), []string{"leases"}, nil)
		return !errors.Is(err, runner.ErrRebuildRunning)
	})
	require.NoError(t, err)
	open()
	require.ErrorIs(t, <-done, runner.ErrRebuildLost)
	require.Equal(t, []string{leases.Model.Key().Table(1), leases.Model.Key().Table(3)}, e.tables(t))
	require.EqualValues(t, 8, e.row(t, streams[4]).Version)
}
