package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/tenure-dev/tenure/eventstore"
)

// item is something that can happen next: a question that is put to the world, an answer on its way back, an event that an
// engine hears of.
type item struct {
	what string
	// of is whose process it belongs to; nil for the world's own.
	of *actor
	// from is when it may happen.
	from time.Time
	// born says that it was made while its process stood still: it has not left the process yet.
	born bool
	// do makes it happen. It must not block.
	do func()
	// lane, if set, keeps its items in their order.
	lane *lane
	// lost is called instead of do once its process is dead; nil for what goes on without it.
	lost func()
	// effect says that something changes outside: a good moment to die.
	effect bool
	gone   bool
}

// lane is what happens in the order in which it was asked for.
type lane struct{ items []*item }

// actor is a process, as far as the scheduler is concerned.
type actor struct {
	name string
	dead bool
	// paused is what SIGSTOP does.
	paused bool
	// cut says until when its questions to the log are not answered, and deaf until when it hears of no event.
	cut, deaf time.Time
	// died is closed when it is dead.
	died chan struct{}
}

var (
	errDead = fmt.Errorf("%w: the process is dead", eventstore.ErrUnavailable)
	errLost = errors.New("the answer was lost")
)

// sched decides what happens next. One thing happens at a time, and the next one only once every goroutine waits for
// something: what happens, and in which order, is the seed's choice.
type sched struct {
	mu    sync.Mutex
	items []*item
	// arrived has room for one signal: there is something new.
	arrived chan struct{}
	chance  *rand.Rand
	trace   *trace
	steps   int
	// before is asked before each step with what is about to happen; true says that something else happened in its place.
	before func(*item) bool
	pace   pace
}

// pace is how long things take, in a story.
type pace struct {
	// quick is the part of the questions that take no time; the others take up to usual, a few up to slow.
	quick, rare float64
	usual, slow time.Duration
}

func newSched(chance *rand.Rand, p pace, t *trace) *sched {
	return &sched{arrived: make(chan struct{}, 1), chance: chance, pace: p, trace: t}
}

// latency is how long something takes to get where it happens.
func (s *sched) latency() time.Duration {
	switch x := s.chance.Float64(); {
	case x < s.pace.quick:
		return 0
	case x < s.pace.quick+s.pace.rare:
		return rand64(s.chance, s.pace.slow)
	}
	return rand64(s.chance, s.pace.usual)
}

// rand64 is a time below limit.
func rand64(r *rand.Rand, limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	return time.Duration(r.Int64N(int64(limit)))
}

// add puts an item up, to happen after a while.
func (s *sched) add(it *item, after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it.from = time.Now().Add(after)
	if a := it.of; a != nil {
		it.born = a.paused
	}
	if it.lane != nil {
		it.lane.items = append(it.lane.items, it)
	}
	s.items = append(s.items, it)
	select {
	case s.arrived <- struct{}{}:
	default:
	}
}

// ask is add with a latency of its own.
func (s *sched) ask(it *item) {
	s.mu.Lock()
	after := s.latency()
	s.mu.Unlock()
	s.add(it, after)
}

// run makes things happen until over says so.
func (s *sched) run(over func() bool) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		synctest.Wait()
		select {
		case <-s.arrived:
		default:
		}
		if over() {
			return
		}
		it, next := s.choose()
		if it == nil {
			timer.Reset(next)
			select {
			case <-s.arrived:
			case <-timer.C:
			}
			continue
		}
		s.steps++
		if !s.before(it) {
			s.happen(it)
		}
	}
}

func (s *sched) happen(it *item) {
	s.trace.add(it)
	s.remove(it)
	it.do()
}

// choose picks one of what can happen now; if there is nothing, it says how long until there may be.
func (s *sched) choose() (*item, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, next := time.Now(), 10*time.Minute
	var ready []*item
	for _, it := range s.items {
		switch {
		case it.lane != nil && it.lane.items[0] != it:
			continue
		case it.of != nil && it.of.paused && it.born:
			continue
		case it.from.After(now):
			next = min(next, it.from.Sub(now))
			continue
		}
		ready = append(ready, it)
	}
	if len(ready) == 0 {
		return nil, next
	}
	return ready[s.chance.IntN(len(ready))], 0
}

// remove takes an item off.
func (s *sched) remove(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(it)
}

// drop is remove; the lock is held.
func (s *sched) drop(it *item) {
	if it.gone {
		return
	}
	it.gone = true
	without := func(items []*item) []*item {
		for i, x := range items {
			if x == it {
				return append(items[:i:i], items[i+1:]...)
			}
		}
		return items
	}
	s.items = without(s.items)
	if it.lane != nil {
		it.lane.items = without(it.lane.items)
	}
}

// underway reports whether something that was sent has not arrived yet.
func (s *sched) underway() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.items, func(it *item) bool { return it.effect })
}

// pause makes a process stand still, resume makes it go on.
func (s *sched) pause(a *actor) { a.paused = true }

func (s *sched) resume(a *actor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.paused = false
	for _, it := range s.items {
		if it.of == a {
			it.born = false
		}
	}
}

// die ends a process. What it has sent may still arrive, each with a chance of its own; nothing gets back to it.
func (s *sched) die(a *actor, arrives float64) {
	s.mu.Lock()
	a.dead, a.paused = true, false
	var lost []func()
	for _, it := range slices.Clone(s.items) {
		if it.of != a {
			continue
		}
		if it.lost != nil {
			lost = append(lost, it.lost)
		}
		if it.born || !it.effect || s.chance.Float64() >= arrives {
			s.drop(it)
			continue
		}
		it.lost, it.of = nil, nil
	}
	s.mu.Unlock()
	close(a.died)
	for _, tell := range lost {
		tell()
	}
}

// question is a call that waits for the world.
type question[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// answer ends the call; only the first one counts.
func (q *question[T]) answer(v T, err error) {
	if !q.answered() {
		q.value, q.err = v, err
		close(q.done)
	}
}

func (q *question[T]) answered() bool {
	select {
	case <-q.done:
		return true
	default:
		return false
	}
}

// wait waits for the answer, or until ctx is over, and reports whether there is an answer.
func (q *question[T]) wait(ctx context.Context, s *sched, a *actor) bool {
	select {
	case <-q.done:
		return true
	case <-ctx.Done():
	}
	if s.still(a) {
		// A process that stands still notices nothing; when it goes on, it may be told either first.
		<-q.done
	}
	return q.answered()
}

// put asks the world f for a process: f runs in its turn. Who gives up waiting takes the question back.
func put[T any](ctx context.Context, s *sched, a *actor, what string, f func() (T, error)) (T, error) {
	q := &question[T]{done: make(chan struct{})}
	it := &item{what: what, of: a}
	it.do = func() { q.answer(f()) }
	it.lost = func() {
		var none T
		q.answer(none, errDead)
	}
	if !s.enter(a, it) {
		return q.value, errDead
	}
	if !q.wait(ctx, s, a) {
		s.remove(it)
		var none T
		return none, fmt.Errorf("%w: %w", eventstore.ErrUnavailable, context.Cause(ctx))
	}
	return q.value, q.err
}

// enter puts an item up for a process, unless it is dead.
func (s *sched) enter(a *actor, it *item) bool {
	s.mu.Lock()
	dead := a.dead
	s.mu.Unlock()
	if !dead {
		s.ask(it)
	}
	return !dead
}

func (s *sched) still(a *actor) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return a.paused
}
