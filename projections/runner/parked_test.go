package runner_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/leases"
	"github.com/tenure-dev/tenure/projections/projectionstest"
	"github.com/tenure-dev/tenure/projections/runner"
)

// faulty is the read model of leases with a fold that fails where the test says.
type faulty struct {
	mu   sync.Mutex
	fail func(e *projections.Event) error
	// tried are the positions that the fold was given, in order.
	tried []int64
}

func (f *faulty) model() projections.Model {
	m := *leases.Model
	apply := m.Apply
	m.Apply = func(l *leases.Lease, e *projections.Event) (bool, error) {
		f.mu.Lock()
		fail := f.fail
		f.tried = append(f.tried, e.Position)
		f.mu.Unlock()
		if fail != nil {
			if err := fail(e); err != nil {
				return false, err
			}
		}
		return apply(l, e)
	}
	return &m
}

func (f *faulty) set(fail func(e *projections.Event) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

// stopOnce lets the next event that is folded wait until it may go on, which it may at the end of the test at the latest.
func (f *faulty) stopOnce(t *testing.T) (inside <-chan struct{}, goOn func()) {
	gate, reached := make(chan struct{}), make(chan struct{})
	goOn = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(goOn)
	var first atomic.Bool
	f.set(func(*projections.Event) error {
		if first.CompareAndSwap(false, true) {
			close(reached)
			<-gate
		}
		return nil
	})
	return reached, goOn
}

func (f *faulty) triesOf(position int64) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.tried {
		if p == position {
			n++
		}
	}
	return n
}

// failAt fails events of a stream at a version.
func failAt(stream eventstore.Stream, versions ...int64) func(e *projections.Event) error {
	return func(e *projections.Event) error {
		for _, v := range versions {
			if e.Stream == stream && e.Version == v {
				return errors.New("this event is poison")
			}
		}
		return nil
	}
}

func onlyParked(t *testing.T, r *runner.Runner) runner.Parked {
	t.Helper()
	list, err := r.Parked(t.Context(), "leases")
	require.NoError(t, err)
	require.Len(t, list, 1)
	return list[0]
}

// TestAPoisonEventParksItsStreamAndTheOthersGoOn is case A26.
func TestAPoisonEventParksItsStreamAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	events, streams := lives(t, 51)
	f := &faulty{fail: failAt(streams[0], 4)}
	r := e.runner(runner.Options{Tries: 5, RetryAfter: 5 * time.Millisecond}, f.model())
	run(t, r)
	last := projectionstest.Append(t, e.store, interleave(events, 8))
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last))
	for _, stream := range streams[1:] {
		require.EqualValues(t, 8, e.row(t, stream).Version)
	}

	// It is tried a few times by itself, with pauses, and then no more.
	soon(t, "the tries end", func() bool { return onlyParked(t, r).Tries == 5 })
	p := onlyParked(t, r)
	require.Equal(t, streams[0], p.Stream)
	require.EqualValues(t, 4, p.Version)
	require.Equal(t, "LeaseProvisioned", p.Event)
	require.Contains(t, p.Reason, "this event is poison")
	require.Equal(t, 4, p.Behind, "the later events wait behind it")
	require.Zero(t, p.RetryAt)
	require.Equal(t, 5, f.triesOf(p.Position))
	require.EqualValues(t, 3, e.row(t, streams[0]).Version, "no later event overtakes")

	require.ErrorIs(t, r.Retry(t.Context(), "leases", streams[0]), runner.ErrStillFails)
	require.Equal(t, 6, onlyParked(t, r).Tries)
	status, err := r.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, status[0].Parked)

	// The cause is mended: a retry takes it and what is behind it in, in order.
	f.set(nil)
	require.NoError(t, r.Retry(t.Context(), "leases", streams[0]))
	require.EqualValues(t, 8, e.row(t, streams[0]).Version)
	require.ErrorIs(t, r.Retry(t.Context(), "leases", streams[0]), runner.ErrNotParked)
	e.sameAsLog(t, r, "leases")
}

func TestAPassingFaultMendsItself(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	events, streams := lives(t, 2)
	f := &faulty{}
	failures := 0
	f.fail = func(e *projections.Event) error {
		if e.Stream == streams[0] && e.Version == 2 && failures < 3 {
			failures++
			panic("only now and then")
		}
		return nil
	}
	r := e.runner(runner.Options{RetryAfter: time.Millisecond}, f.model())
	run(t, r)
	last := projectionstest.Append(t, e.store, events)
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last))
	soon(t, "the stream is complete", func() bool { return e.row(t, streams[0]).Version == 8 })
	list, err := r.Parked(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestASkippedEventIsLeftOutAndTheRestFollowsInOrder(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	events, streams := lives(t, 3)
	f := &faulty{fail: failAt(streams[0], 5, 7)}
	r := e.runner(runner.Options{Tries: 1}, f.model())
	run(t, r)
	last := projectionstest.Append(t, e.store, events)
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last))

	skipped, err := r.Skip(t.Context(), "leases", streams[0])
	require.ErrorIs(t, err, runner.ErrStillFails, "version 7 fails too")
	require.EqualValues(t, 5, skipped.Version)
	require.Equal(t, "LeaseRenewed", skipped.Event)
	require.EqualValues(t, 6, e.row(t, streams[0]).Version)
	require.EqualValues(t, 7, onlyParked(t, r).Version)

	_, err = r.Skip(t.Context(), "leases", streams[0])
	require.NoError(t, err)
	row := e.row(t, streams[0])
	require.EqualValues(t, 8, row.Version)
	require.Equal(t, lease.StatusReleased, row.Data.Status())

	// A rebuild leaves out what was skipped, as long as it still fails.
	reports, err := r.Rebuild(t.Context(), []string{"leases"}, nil)
	require.NoError(t, err)
	require.Zero(t, reports[0].Differences, "%+v", reports[0].First)
	require.Zero(t, reports[0].Parked)
	f.set(nil)
	reports, err = r.Rebuild(t.Context(), []string{"leases"}, nil)
	require.NoError(t, err)
	require.EqualValues(t, 1, reports[0].Differences, "now the events are taken in")
	require.EqualValues(t, 8, e.row(t, streams[0]).Version)
}

func TestARowThatTheDatabaseRefusesParksOnlyItsStream(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	events, streams := lives(t, 10)
	var mended sync.Map
	m := *leases.Model
	m.Columns = append(append([]projections.Column[leases.Lease]{}, m.Columns...), projections.Column[leases.Lease]{
		Name: "extra", Type: "text NOT NULL",
		Of: func(l *leases.Lease) any {
			if _, ok := mended.Load("yes"); !ok && eventstore.StreamOf(lease.Category, l.ID.UUID) == streams[0] && !l.AcquiredAt.IsZero() {
				return nil
			}
			return "x"
		},
	})
	r := e.runner(runner.Options{Tries: 1}, &m)
	run(t, r)
	last := projectionstest.Append(t, e.store, interleave(events, 8))
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last))
	p := onlyParked(t, r)
	require.Equal(t, streams[0], p.Stream)
	require.EqualValues(t, 4, p.Version)
	for _, stream := range streams[1:] {
		require.EqualValues(t, 8, e.row(t, stream).Version)
	}
	require.ErrorIs(t, r.Retry(t.Context(), "leases", streams[0]), runner.ErrStillFails)
	_, err := r.Skip(t.Context(), "leases", streams[0])
	require.NoError(t, err, "without the acquisition the row is fine")
	mended.Store("yes", true)
	e.sameAsLogButSkips(t, r)
}

// sameAsLogButSkips: with the cause mended, a fold from nothing takes in what was skipped, and that is all that differs.
func (e *engine) sameAsLogButSkips(t *testing.T, r *runner.Runner) {
	t.Helper()
	report, err := r.Verify(t.Context(), "leases", nil)
	require.NoError(t, err)
	require.EqualValues(t, 1, report.Differences)
}

func TestTooManyParkedStreamsStopTheReadModelAndNoOther(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	events, streams := lives(t, 8)
	f := &faulty{fail: func(e *projections.Event) error {
		if e.Version == 2 {
			return errors.New("all are poison")
		}
		return nil
	}}
	other := *leases.Model
	other.Name = "other_leases"
	r := e.runner(runner.Options{Tries: 1, MaxParked: 3, PageSize: 10}, f.model(), &other)
	run(t, r)
	last := projectionstest.Append(t, e.store, interleave(events, 8))
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last, "other_leases"))
	err := r.Wait(within(t, 2*time.Minute), last, "leases")
	stopped, ok := errors.AsType[*runner.StoppedError](err)
	require.True(t, ok, "%v", err)
	require.Contains(t, stopped.Reason, "more than 3 streams are parked")
	status, err := r.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, runner.StateStopped, status[0].State)
	require.Equal(t, runner.StateLive, status[1].State)

	// A rebuild that parks as many is given up, and what answers stays.
	_, err = r.Rebuild(t.Context(), []string{"leases"}, nil)
	require.ErrorIs(t, err, runner.ErrTooManyParked)

	// Once there are fewer, it goes on by itself, also if that is another process's doing; and nobody is told any more that it
	// is stopped.
	f.set(nil)
	list, err := r.Parked(t.Context(), "leases")
	require.NoError(t, err)
	elsewhere := e.runner(runner.Options{MaxParked: 3}, leases.Model)
	for _, p := range list {
		require.NoError(t, elsewhere.Retry(t.Context(), "leases", p.Stream))
	}
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last, "leases"))
	require.EqualValues(t, 8, e.row(t, streams[7]).Version)
	e.sameAsLog(t, r, "leases", "other_leases")
}

func TestWhatAnotherProcessUnparkedIsTakenOnWhereItStands(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	events, streams := lives(t, 3)
	events = interleave(events, 8)
	f := &faulty{fail: failAt(streams[0], 2)}
	r := e.runner(runner.Options{Tries: 1}, f.model())
	run(t, r)
	last := projectionstest.Append(t, e.store, events[:12])
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last))
	require.Equal(t, 2, onlyParked(t, r).Behind)
	f.set(nil)
	elsewhere := e.runner(runner.Options{}, leases.Model)
	require.NoError(t, elsewhere.Retry(t.Context(), "leases", streams[0]))
	last = projectionstest.Append(t, e.store, events[12:])
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last))
	require.EqualValues(t, 8, e.row(t, streams[0]).Version)
	e.sameAsLog(t, r, "leases")
}
