package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/memory"
)

// link is a process's way to the database.
type link struct {
	w *world
	a *actor
	// clock is the process's own idea of the database's time.
	clock eventstore.Clock
	lanes [eventstore.Lanes]lane
}

var _ eventstore.Store = (*link)(nil)

func (l *link) Clock() *eventstore.Clock { return &l.clock }

func (*link) Epoch() int64 { return memory.Epoch }

// Changed is for who follows the log; processes are told by the world.
func (l *link) Changed() <-chan struct{} { return l.w.store.Changed() }

// away is what a question comes to while the database cannot be reached.
func (l *link) away() error {
	if l.a.cut.After(time.Now()) {
		return fmt.Errorf("%w: the database is away", eventstore.ErrUnavailable)
	}
	return nil
}

// read asks the database.
func read[T any](ctx context.Context, l *link, what string, f func() (T, error)) (T, error) {
	return put(ctx, l.w.sched, l.a, what, func() (T, error) {
		if err := l.away(); err != nil {
			var none T
			return none, err
		}
		return f()
	})
}

func (l *link) ReadStream(ctx context.Context, stream eventstore.Stream, after int64, limit int) ([]eventstore.Recorded, error) {
	return read(ctx, l, "read "+string(stream), func() ([]eventstore.Recorded, error) { return l.w.store.ReadStream(ctx, stream, after, limit) })
}

func (l *link) ReadAll(ctx context.Context, after int64, limit int) ([]eventstore.Recorded, error) {
	return read(ctx, l, "read all", func() ([]eventstore.Recorded, error) { return l.w.store.ReadAll(ctx, after, limit) })
}

func (l *link) Head(ctx context.Context) (eventstore.Head, error) {
	return read(ctx, l, "head", func() (eventstore.Head, error) { return l.w.store.Head(ctx) })
}

func (l *link) ReadInput(ctx context.Context, id uuid.UUID) (eventstore.Input, error) {
	return read(ctx, l, "input", func() (eventstore.Input, error) { return l.w.store.ReadInput(ctx, id) })
}

func (l *link) FindCommand(ctx context.Context, c eventstore.Command) (eventstore.AcceptedCommand, error) {
	return read(ctx, l, "command", func() (eventstore.AcceptedCommand, error) { return l.w.store.FindCommand(ctx, c) })
}

// Submit implements [eventstore.Appender]. The append happens in its turn, and its outcome comes back later or never.
func (l *link) Submit(a eventstore.Append) eventstore.Pending {
	q := &question[eventstore.Result]{done: make(chan struct{})}
	p := &pending{l, q}
	what := "append"
	if len(a.Events) > 0 {
		what = "append " + a.Events[0].Name + " " + string(a.Events[0].Stream)
	}
	dead := func() { q.answer(eventstore.Result{}, errDead) }
	it := &item{what: what, of: l.a, lane: &l.lanes[a.Lane], effect: true, lost: dead}
	it.do = func() {
		lost := l.w.loses()
		if err := l.away(); err != nil && it.of != nil {
			if lost {
				err = fmt.Errorf("%w: the database went away", eventstore.ErrUnknownOutcome)
			}
			q.answer(eventstore.Result{}, err)
			return
		}
		result, err := l.w.append(a)
		if it.of == nil {
			return // nobody waits for it
		}
		l.w.sched.ask(&item{what: "told of " + what, of: l.a, lost: dead, do: func() {
			if lost && (err == nil || a.Command == nil) {
				q.answer(eventstore.Result{}, fmt.Errorf("%w: %w", eventstore.ErrUnknownOutcome, errLost))
				return
			}
			if err == nil {
				l.clock.ObserveAppend(result.RecordedAt)
			}
			q.answer(result, err)
		}})
	}
	if !l.w.sched.enter(l.a, it) {
		dead()
	}
	return p
}

// pending is an append under way.
type pending struct {
	l *link
	q *question[eventstore.Result]
}

func (p *pending) Wait(ctx context.Context) (eventstore.Result, error) {
	if !p.q.wait(ctx, p.l.w.sched, p.l.a) {
		return eventstore.Result{}, fmt.Errorf("%w: %w", eventstore.ErrUnknownOutcome, context.Cause(ctx))
	}
	return p.q.value, p.q.err
}

// Partitions implements [eventstore.Partitioning].
func (l *link) Partitions(ctx context.Context) ([]eventstore.Partition, error) {
	return read(ctx, l, "partitions", func() ([]eventstore.Partition, error) { return l.w.store.Partitions(ctx) })
}

// TakePartitions implements [eventstore.Partitioning].
func (l *link) TakePartitions(ctx context.Context, worker domain.WorkerID, of []eventstore.Partition) ([]eventstore.Partition, error) {
	return read(ctx, l, "take partitions", func() ([]eventstore.Partition, error) { return l.w.store.TakePartitions(ctx, worker, of) })
}

// pulse is the row of renewals over a link. Its answer also tells what time it is.
type pulse struct{ l *link }

func (p pulse) ask(ctx context.Context, what string, f func() (eventstore.PulseReading, error)) (eventstore.PulseReading, error) {
	r, err := read(ctx, p.l, what, f)
	if err == nil {
		p.l.clock.Observe(r.Now)
	}
	return r, err
}

func (p pulse) Beat(ctx context.Context, limit time.Duration) (eventstore.PulseReading, error) {
	return p.ask(ctx, "pulse", func() (eventstore.PulseReading, error) { return p.l.w.pulse.Beat(ctx, limit) })
}

func (p pulse) Resume(ctx context.Context, version int64) (eventstore.PulseReading, error) {
	return p.ask(ctx, "pulse again", func() (eventstore.PulseReading, error) { return p.l.w.pulse.Resume(ctx, version) })
}

func (p pulse) Look(ctx context.Context) (eventstore.PulseReading, error) {
	return p.ask(ctx, "look at the pulse", func() (eventstore.PulseReading, error) { return p.l.w.pulse.Look(ctx) })
}

// rows are the liveness rows over a link.
type rows struct{ l *link }

var _ supervisor.Processes = rows{}

func (r rows) Register(ctx context.Context, p eventstore.Process, ttl time.Duration) error {
	return r.write(ctx, "register", func() error { return r.l.w.rows.Register(ctx, p, ttl) })
}

func (r rows) Beat(ctx context.Context, p eventstore.Process, ttl time.Duration) error {
	return r.write(ctx, "beat", func() error { return r.l.w.rows.Beat(ctx, p, ttl) })
}

func (r rows) Leave(ctx context.Context, id domain.WorkerID) error {
	return r.write(ctx, "leave", func() error { return r.l.w.rows.Leave(ctx, id) })
}

func (r rows) List(ctx context.Context) ([]eventstore.Process, error) {
	return read(ctx, r.l, "processes", func() ([]eventstore.Process, error) { return r.l.w.rows.List(ctx) })
}

func (r rows) write(ctx context.Context, what string, f func() error) error {
	_, err := read(ctx, r.l, what, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

// todo and estate are the read models over a link.
type todo struct{ l *link }

var _ supervisor.Todo = todo{}

func (t todo) Due(ctx context.Context, scope supervisor.Scope, now time.Time, limit int) ([]supervisor.Task, error) {
	return read(ctx, t.l, "due", func() ([]supervisor.Task, error) { return t.l.w.models.due(scope, now, limit) })
}

func (t todo) Expiring(ctx context.Context, scope supervisor.Scope, now time.Time, limit int) ([]supervisor.Task, error) {
	return read(ctx, t.l, "expiring", func() ([]supervisor.Task, error) { return t.l.w.models.expiring(scope, now, limit) })
}

func (t todo) Workers(ctx context.Context) ([]domain.WorkerID, error) {
	return read(ctx, t.l, "workers", func() ([]domain.WorkerID, error) { return t.l.w.models.workers() })
}

func (t todo) Claimed(ctx context.Context, scope supervisor.Scope, worker domain.WorkerID) ([]supervisor.Task, error) {
	return read(ctx, t.l, "claimed", func() ([]supervisor.Task, error) { return t.l.w.models.claimed(scope, worker) })
}

func (t todo) Resident(ctx context.Context, node domain.NodeID) ([]supervisor.Task, error) {
	return read(ctx, t.l, "resident", func() ([]supervisor.Task, error) { return t.l.w.models.resident(node) })
}

func (t todo) Waiting(ctx context.Context, scope supervisor.Scope, limit int) ([]supervisor.Task, error) {
	return read(ctx, t.l, "waiting", func() ([]supervisor.Task, error) { return t.l.w.models.waiting(scope, limit) })
}

type estate struct{ l *link }

var _ supervisor.Estate = estate{}

func (e estate) Places(ctx context.Context) ([]supervisor.Place, error) {
	return read(ctx, e.l, "places", func() ([]supervisor.Place, error) { return e.l.w.models.places() })
}

func (e estate) Forgotten(ctx context.Context, node domain.NodeID) ([]domain.LeaseID, error) {
	return read(ctx, e.l, "forgotten", func() ([]domain.LeaseID, error) { return e.l.w.models.forgotten(node) })
}

func (e estate) Stuck(ctx context.Context) ([]domain.LeaseID, error) {
	return read(ctx, e.l, "stuck", func() ([]domain.LeaseID, error) { return e.l.w.models.stuck() })
}

func (e estate) Leaks(ctx context.Context) ([]supervisor.Leak, error) {
	return read(ctx, e.l, "leaks", func() ([]supervisor.Leak, error) { return e.l.w.models.open() })
}
