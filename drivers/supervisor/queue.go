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
	task
	// busy: a step is at work; again: it was asked for meanwhile.
	busy, again bool
}

// task is a stream to look at.
type task struct {
	stream eventstore.Stream
	// cause is the append that led to it, if there is one.
	cause uuid.UUID
	// read: the log must be asked. Who names a cause was told of it, so what this process knows is new enough.
	read bool
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
		e.read = e.read || cause == uuid.Nil
		e.again = e.again || e.busy
		return
	}
	q.entries[s] = &entry{task: task{stream: s, cause: cause, read: cause == uuid.Nil}}
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
func (q *queue) take() (t task, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.ready) == 0 && !q.closed {
		q.more.Wait()
	}
	if q.closed {
		return task{}, false
	}
	e := q.entries[q.ready[0]]
	q.ready = q.ready[1:]
	t = e.task
	// What is asked for from now on is for the next step.
	e.busy, e.read = true, false
	return t, true
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
