package supervisor

import (
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/eventstore"
)

// queue holds the streams to look at. A stream is in it once, however often it was asked for, and is never worked on by
// two steps at once; if it is asked for during its step, it comes again after it. It also knows which streams are to be
// looked at later: each has one alarm at most, the earliest that was asked for.
type queue struct {
	mu      sync.Mutex
	more    sync.Cond
	ready   []eventstore.Stream
	entries map[eventstore.Stream]*entry
	alarms  map[eventstore.Stream]*alarm
	closed  bool
}

type entry struct {
	cause uuid.UUID
	// busy: a step is at work; again: it was asked for meanwhile.
	busy, again bool
}

type alarm struct {
	timer *time.Timer
	at    time.Time
}

func newQueue() *queue {
	q := &queue{entries: map[eventstore.Stream]*entry{}, alarms: map[eventstore.Stream]*alarm{}}
	q.more.L = &q.mu
	return q
}

// add asks for a stream; cause is the append that led to it, if there is one.
func (q *queue) add(s eventstore.Stream, cause uuid.UUID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.put(s, cause)
}

func (q *queue) put(s eventstore.Stream, cause uuid.UUID) {
	if q.closed {
		return
	}
	if e, ok := q.entries[s]; ok {
		if cause != uuid.Nil {
			e.cause = cause
		}
		e.again = e.again || e.busy
		return
	}
	q.entries[s] = &entry{cause: cause}
	q.ready = append(q.ready, s)
	q.more.Signal()
}

// addAfter asks for a stream after a while. If the process ends before, the sweep of the next one finds it.
func (q *queue) addAfter(s eventstore.Stream, cause uuid.UUID, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	at := time.Now().Add(wait)
	if old, ok := q.alarms[s]; ok {
		if !at.Before(old.at) {
			return
		}
		old.timer.Stop()
	}
	a := &alarm{at: at}
	a.timer = time.AfterFunc(wait, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.alarms[s] == a {
			delete(q.alarms, s)
			q.put(s, cause)
		}
	})
	q.alarms[s] = a
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

// has reports whether a stream waits for its step or is in it.
func (q *queue) has(s eventstore.Stream) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, ok := q.entries[s]
	return ok
}

// close wakes everybody; what was not begun stays in the log.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, a := range q.alarms {
		a.timer.Stop()
	}
	clear(q.alarms)
	q.more.Broadcast()
}

func (q *queue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}
