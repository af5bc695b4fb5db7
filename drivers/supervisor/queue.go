package supervisor

import (
	"sync"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/eventstore"
)

// queue holds the streams to look at. A stream is in it once, however often it was asked for, and is never worked on by
// two steps at once; if it is asked for during its step, it comes again after it.
type queue struct {
	mu      sync.Mutex
	more    sync.Cond
	ready   []eventstore.Stream
	entries map[eventstore.Stream]*entry
	closed  bool
}

type entry struct {
	cause uuid.UUID
	// busy: a step is at work; again: it was asked for meanwhile.
	busy, again bool
}

func newQueue() *queue {
	q := &queue{entries: map[eventstore.Stream]*entry{}}
	q.more.L = &q.mu
	return q
}

// add asks for a stream; cause is the append that led to it.
func (q *queue) add(s eventstore.Stream, cause uuid.UUID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	if e, ok := q.entries[s]; ok {
		e.cause = cause
		e.again = e.again || e.busy
		return
	}
	q.entries[s] = &entry{cause: cause}
	q.ready = append(q.ready, s)
	q.more.Signal()
}

// take waits for a stream to look at; ok is false once the queue is closed.
func (q *queue) take() (s eventstore.Stream, cause uuid.UUID, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.ready) == 0 && !q.closed {
		q.more.Wait()
	}
	if q.closed {
		return "", uuid.Nil, false
	}
	s = q.ready[0]
	q.ready = q.ready[1:]
	e := q.entries[s]
	e.busy = true
	return s, e.cause, true
}

// done ends the step of a stream.
func (q *queue) done(s eventstore.Stream) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.entries[s]
	if e.again && !q.closed {
		e.busy, e.again = false, false
		q.ready = append(q.ready, s)
		q.more.Signal()
		return
	}
	delete(q.entries, s)
}

// close wakes everybody; what was not begun stays in the log.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.more.Broadcast()
}
