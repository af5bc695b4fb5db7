package pg

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenure-dev/tenure/eventstore"
)

// maxBatch bounds the appends, maxBatchBytes their payloads, of one call.
const (
	maxBatch      = 64
	maxBatchBytes = 4 << 20
)

// pending is an append on its way.
type pending struct {
	append             eventstore.Append
	salts, commitments [][]byte
	since              time.Time
	done               chan struct{}
	outcome            outcome
}

func (p *pending) finish(o outcome) {
	p.outcome = o
	close(p.done)
}

// Wait returns the outcome.
func (p *pending) Wait(ctx context.Context) (eventstore.Result, error) {
	select {
	case <-p.done:
		return p.outcome.result, p.outcome.err
	case <-ctx.Done():
		return eventstore.Result{}, fmt.Errorf("%w: %w", eventstore.ErrUnknownOutcome, context.Cause(ctx))
	}
}

// writer is the one goroutine of a process that appends. It takes what waits, lane by lane, and sends it as one
// call.
type writer struct {
	store  *Store
	link   link
	mu     sync.Mutex
	queue  [eventstore.Lanes][]*pending
	closed bool
	// more has room for one signal: there is something in the queue, or the writer is closed.
	more  chan struct{}
	ended chan struct{}
}

func newWriter(s *Store) *writer {
	return &writer{store: s, link: link{store: s}, more: make(chan struct{}, 1), ended: make(chan struct{})}
}

func (w *writer) submit(a eventstore.Append) *pending {
	if a.Epoch == 0 {
		a.Epoch = w.store.Epoch()
	}
	p := &pending{append: a, since: time.Now(), done: make(chan struct{})}
	if err := a.Validate(); err != nil {
		p.finish(outcome{err: err})
		return p
	}
	for _, e := range a.Events {
		salt := eventstore.NewSalt()
		p.salts = append(p.salts, salt)
		p.commitments = append(p.commitments, eventstore.Commit(salt, e.Payload))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		p.finish(outcome{err: fmt.Errorf("%w: the engine is shutting down", eventstore.ErrUnavailable)})
		return p
	}
	lane := min(max(a.Lane, eventstore.LaneControl), eventstore.LaneBulk)
	w.queue[lane] = append(w.queue[lane], p)
	w.signal()
	return p
}

func (w *writer) signal() {
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// close lets the writer finish what was submitted.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.signal()
	<-w.ended
}

func (w *writer) run(ctx context.Context) {
	defer close(w.ended)
	defer w.link.close(ctx)
	for {
		<-w.more
		for {
			batch, closed := w.take()
			if len(batch) == 0 {
				if closed {
					return
				}
				break
			}
			if batch = w.inTime(batch); len(batch) > 0 {
				w.write(ctx, batch)
			}
		}
	}
}

// inTime leaves out those whose time was over before the database heard of them: it did not answer the ones before, and
// their callers are not kept waiting for it in turn.
func (w *writer) inTime(batch []*pending) []*pending {
	return slices.DeleteFunc(batch, func(p *pending) bool {
		late := time.Since(p.since) > w.store.opts.AppendTimeout
		if late {
			p.finish(outcome{err: fmt.Errorf("%w: %w", eventstore.ErrUnavailable, errSilent)})
		}
		return late
	})
}

// take removes the next batch from the queue. An id that is in the batch already waits for the next one, and so does what
// was decided on another epoch of the log.
func (w *writer) take() (batch []*pending, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	bytes := 0
	ids := make(map[[16]byte]bool)
	for lane, queue := range w.queue {
		n := 0
		for n < len(queue) && len(batch) < maxBatch && bytes < maxBatchBytes && !ids[queue[n].append.ID] &&
			(len(batch) == 0 || batch[0].append.Epoch == queue[n].append.Epoch) {
			ids[queue[n].append.ID] = true
			bytes += size(queue[n].append)
			batch = append(batch, queue[n])
			n++
		}
		clear(queue[:n])
		w.queue[lane] = queue[n:]
	}
	return batch, w.closed
}

func size(a eventstore.Append) int {
	n := 0
	for _, e := range a.Events {
		n += len(e.Payload)
	}
	for _, in := range a.Inputs {
		n += len(in.Value)
	}
	return n
}

// write brings every append of the batch to an outcome. A batch that the database refuses is halved until the guilty
// append is alone; one whose outcome was lost is sent again with the same ids, which tells what happened.
func (w *writer) write(ctx context.Context, batch []*pending) {
	outcomes, err := w.send(ctx, batch)
	if err == nil {
		last := int64(0)
		for i, p := range batch {
			if o := outcomes[i]; o.err == nil {
				// What was done before has the time of then.
				if !o.result.Replayed && !o.result.CommandReplayed {
					w.store.clock.ObserveAppend(o.result.RecordedAt)
				}
				last = max(last, o.result.Last)
			}
			p.finish(outcomes[i])
		}
		if last > 0 {
			w.store.wake.appended()
		}
		return
	}
	if len(batch) > 1 && !errors.Is(err, eventstore.ErrUnknownOutcome) && !errors.Is(err, eventstore.ErrUnavailable) {
		half := len(batch) / 2
		w.write(ctx, batch[:half])
		w.write(ctx, batch[half:])
		return
	}
	for _, p := range batch {
		p.finish(outcome{err: err})
	}
}

// send calls the database until it answers or the time of the oldest append is over.
func (w *writer) send(ctx context.Context, batch []*pending) ([]outcome, error) {
	oldest := slices.MinFunc(batch, func(a, b *pending) int { return a.since.Compare(b.since) })
	deadline := oldest.since.Add(w.store.opts.AppendTimeout)
	reached := false
	for attempt := 0; ; attempt++ {
		outcomes, sent, err := w.link.call(ctx, batch)
		if err == nil {
			return outcomes, nil
		}
		reached = reached || sent
		if refused(err) {
			return nil, fmt.Errorf("append: %w", err)
		}
		// A full disk stays full for longer than anybody waits.
		if OutOfSpace(err) || time.Now().After(deadline) || ctx.Err() != nil {
			if reached {
				return nil, fmt.Errorf("%w: %w", eventstore.ErrUnknownOutcome, err)
			}
			return nil, fmt.Errorf("%w: %w", eventstore.ErrUnavailable, err)
		}
		w.store.opts.Logger.Warn("append: the database did not answer; asking again", "attempt", attempt+1, "error", err)
		select {
		case <-time.After(backoff(attempt)):
		case <-ctx.Done():
		}
	}
}

// refused reports whether err is the database's word that nothing was done and that asking again will not help.
func refused(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	switch pgErr.Code[:2] {
	case "08", "53", "55", "57", "58", "XX", "40":
		// Connection, resources, a lock not granted in time, operator intervention, system errors, and deadlocks pass.
		return false
	case "25":
		// A standby that is not promoted yet, and timeouts of transactions.
		return false
	}
	return true
}

// OutOfSpace reports whether the database says that its disk is full.
func OutOfSpace(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == "53100"
}

// backoff grows from about 10 ms to about a second.
func backoff(attempt int) time.Duration {
	d := min(10*time.Millisecond<<min(attempt, 7), time.Second)
	return d/2 + rand.N(d/2+1) //nolint:gosec // jitter is no secret
}
