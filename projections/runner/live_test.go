package runner_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/activeleases"
	"github.com/tenure-dev/tenure/projections/catalog"
	"github.com/tenure-dev/tenure/projections/deadlines"
	"github.com/tenure-dev/tenure/projections/leases"
	"github.com/tenure-dev/tenure/projections/projectionstest"
	"github.com/tenure-dev/tenure/projections/runner"
)

func TestWhoWaitsForAPositionReadsWhatStandsThere(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	r := e.runner(runner.Options{})
	run(t, r)
	events, streams := lives(t, 3)
	for i := range 8 {
		// One event of each lease after the other: every answer is read at once.
		for l := range streams {
			last := projectionstest.Append(t, e.store, events[l*8+i:l*8+i+1])
			require.NoError(t, r.Wait(within(t, 2*time.Minute), last, "leases"))
			require.EqualValues(t, i+1, e.row(t, streams[l]).Version)
		}
	}
	status, err := r.Status(t.Context())
	require.NoError(t, err)
	require.Len(t, status, len(catalog.All()))
	for _, s := range status {
		require.Equal(t, runner.StateLive, s.State, "%+v", s)
		require.True(t, s.Mine)
	}
}

func TestPagesMakeTheSameTablesAsAFoldFromNothing(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	r := e.runner(runner.Options{PageSize: 7})
	run(t, r)
	var history []eventstore.Recorded
	rapid.Check(t, func(t *rapid.T) { history = projectionstest.Random(t) })
	last := projectionstest.Append(t, e.store, history)
	events, _ := lives(t, 20)
	last = max(last, projectionstest.Append(t, e.store, interleave(events, 8)))
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last))
	e.sameAsLog(t, r, r.Names()...)
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	r := e.runner(runner.Options{})
	run(t, r)
	<-r.Ready()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, r.Wait(ctx, 1_000_000), context.Canceled)
	require.ErrorIs(t, r.Wait(t.Context(), 1, "nonsense"), runner.ErrUnknown)
}

func TestListsArePagedAndFiltered(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	r := e.runner(runner.Options{})
	run(t, r)
	events, streams := lives(t, 25)
	last := projectionstest.Append(t, e.store, events[:20*8])
	// The last five are active.
	for l := 20; l < 25; l++ {
		last = projectionstest.Append(t, e.store, events[l*8:l*8+5])
	}
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last))

	var seen []eventstore.Stream
	opts := projections.Options{Limit: 7}
	for {
		page, err := leases.List(t.Context(), e.pool, leases.Filter{Company: domaintest.Company}, opts)
		require.NoError(t, err)
		require.Equal(t, last, page.Position)
		for _, row := range page.Items {
			seen = append(seen, row.Stream)
		}
		if page.Next == "" {
			break
		}
		opts.After = page.Next
	}
	require.Len(t, seen, 25)
	require.Equal(t, streams[24], seen[0], "the newest is first")
	require.Equal(t, streams[0], seen[24])

	ended, err := leases.List(t.Context(), e.pool, leases.Filter{Run: "run-3", Statuses: []lease.Status{lease.StatusReleased}}, projections.Options{})
	require.NoError(t, err)
	require.Len(t, ended.Items, 2)
	active, err := activeleases.List(t.Context(), e.pool, leases.Filter{Run: "run-3"}, projections.Options{})
	require.NoError(t, err)
	require.Len(t, active.Items, 1)
	require.Equal(t, lease.StatusActive, active.Items[0].Data.Status())
	none, err := leases.List(t.Context(), e.pool, leases.Filter{Company: domaintest.ID[domain.CompanyID](99)}, projections.Options{})
	require.NoError(t, err)
	require.Empty(t, none.Items)
	_, err = leases.List(t.Context(), e.pool, leases.Filter{}, projections.Options{After: "nonsense"})
	require.ErrorIs(t, err, projections.ErrCursor)

	due, err := deadlines.Expiring(t.Context(), e.pool, eventstore.AllPartitions(), time.Now().Add(1000*24*time.Hour), nil, 10)
	require.NoError(t, err)
	require.Len(t, due, 5)
	require.Equal(t, deadlines.KindExpire, due[0].Data.Kind)
}

func TestOneStreamAnswersForItselfWithoutATable(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	events, streams := lives(t, 2)
	projectionstest.Append(t, e.store, events)
	row, ok, err := leases.Model.Read(t.Context(), e.store, streams[1])
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, lease.StatusReleased, row.Data.Status())
	require.EqualValues(t, 8, row.Version)
	_, ok, err = activeleases.Model.Read(t.Context(), e.store, streams[1])
	require.NoError(t, err)
	require.False(t, ok)
	_, ok, err = leases.Model.Read(t.Context(), e.store, "lease-"+"a0000000-0000-4000-8000-000000000001")
	require.NoError(t, err)
	require.False(t, ok)
}

func TestBeforeTheFirstRunNothingAnswers(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	_, err := leases.List(t.Context(), e.pool, leases.Filter{}, projections.Options{})
	require.ErrorIs(t, err, projections.ErrNotBuilt)
}

func TestALongLogIsBuiltBesideAndThenKept(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	events, streams := lives(t, 50)
	projectionstest.Append(t, e.store, interleave(events, 8))
	r := e.runner(runner.Options{BuildBehind: 100})
	run(t, r)
	<-r.Ready()
	more, _ := lives(t, 3)
	last := projectionstest.Append(t, e.store, more)
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last))
	require.EqualValues(t, 8, e.row(t, streams[49]).Version)
	e.sameAsLog(t, r, "leases", "deadlines")
}

func TestTheLastRunnerThatStartsKeepsTheReadModels(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	older, newer := e.runner(runner.Options{}), e.runner(runner.Options{})
	run(t, older)
	<-older.Ready()
	run(t, newer)
	<-newer.Ready()
	events, streams := lives(t, 30)
	last := projectionstest.Append(t, e.store, interleave(events, 8))
	require.NoError(t, newer.Wait(within(t, 2*time.Minute), last))
	// The older one follows, so that its callers read their own writes too.
	require.NoError(t, older.Wait(within(t, 2*time.Minute), last))
	status, err := older.Status(t.Context())
	require.NoError(t, err)
	for _, s := range status {
		require.False(t, s.Mine, s.Name)
	}
	require.EqualValues(t, 8, e.row(t, streams[29]).Version)
	e.sameAsLog(t, newer, "leases", "active_leases", "deadlines")
}

func TestARunnerThatDiesIsFollowedByTheNextWithoutLossOrDouble(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	events, _ := lives(t, 60)
	events = interleave(events, 8)
	var last int64
	for len(events) > 0 {
		n := min(48, len(events))
		r := e.runner(runner.Options{PageSize: 5})
		stop := run(t, r)
		last = projectionstest.Append(t, e.store, events[:n])
		events = events[n:]
		// It is ended while it is at work, somewhere in the middle.
		require.NoError(t, r.Wait(within(t, 2*time.Minute), last-int64(n)/2))
		stop()
	}
	r := e.runner(runner.Options{})
	run(t, r)
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last))
	e.sameAsLog(t, r, r.Names()...)
}

func TestAReadModelThatItsProcessLeftIsTakenOver(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	older := e.runner(runner.Options{TakeOverAfter: 50 * time.Millisecond, PollInterval: 10 * time.Millisecond})
	run(t, older)
	<-older.Ready()
	newer := e.runner(runner.Options{})
	stop := run(t, newer)
	<-newer.Ready()
	stop()
	// As if it had died: what it was stays in the pointers.
	_, err := e.pool.Exec(t.Context(), `UPDATE projection_pointers SET owner = gen_random_uuid()`)
	require.NoError(t, err)
	events, _ := lives(t, 5)
	last := projectionstest.Append(t, e.store, events)
	require.NoError(t, older.Wait(within(t, 2*time.Minute), last))
	e.sameAsLog(t, older, older.Names()...)
}

func TestWhoEndsInOrderLeavesItsReadModelsToOthersAtOnce(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	older := e.runner(runner.Options{TakeOverAfter: time.Hour})
	run(t, older)
	<-older.Ready()
	newer := e.runner(runner.Options{TakeOverAfter: time.Hour})
	stop := run(t, newer)
	<-newer.Ready()
	stop()
	events, _ := lives(t, 5)
	last := projectionstest.Append(t, e.store, events)
	require.NoError(t, older.Wait(within(t, 2*time.Minute), last))
	e.sameAsLog(t, older, older.Names()...)
}

// headLog counts how often the end of the log is asked for.
type headLog struct {
	runner.Log
	asked atomic.Int64
}

func (l *headLog) Head(ctx context.Context) (eventstore.Head, error) {
	l.asked.Add(1)
	return l.Log.Head(ctx)
}

// However often the log changes, a runner that keeps nothing looks now and then how far the others are.
func TestWhoKeepsNothingLooksNowAndThen(t *testing.T) {
	t.Parallel()
	const poll, changes = 200 * time.Millisecond, 200
	e := newEngine(t)
	log := &headLog{Log: e.store}
	idle := runner.New(e.pool, log, catalog.All(), runner.Options{PollInterval: poll})
	run(t, idle)
	<-idle.Ready()
	keeper := e.runner(runner.Options{})
	run(t, keeper)
	<-keeper.Ready()
	soon(t, "the other one keeps them", func() bool {
		status, err := idle.Status(t.Context())
		require.NoError(t, err)
		return !slices.ContainsFunc(status, func(s runner.Status) bool { return s.Mine })
	})
	began, before := time.Now(), log.asked.Load()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := range changes {
		eventstoretest.Must(t, e.store, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, n))
		<-tick.C
	}
	looked := log.asked.Load() - before
	require.Positive(t, looked)
	require.LessOrEqual(t, looked, int64(time.Since(began)/poll)+3)
	head, err := e.store.Head(t.Context())
	require.NoError(t, err)
	require.NoError(t, idle.Wait(within(t, time.Minute), head.Position))
}
