package eventstore

import (
	"container/list"
	"context"
	"sync"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
)

// observedStreams is how many contended streams are kept for those who only look.
const observedStreams = 64

// observed are states of contended streams for those who only look at them: folded from the log with what the log says of
// each event, which the states that are decided on are not.
type observed struct {
	mu      sync.Mutex
	order   *list.List
	streams map[Stream]*list.Element
}

type observation struct {
	stream Stream
	// turn has one token: who has it reads and shows.
	turn  chan struct{}
	state any
}

func newObserved() *observed {
	return &observed{order: list.New(), streams: map[Stream]*list.Element{}}
}

func (o *observed) of(s Stream) *observation {
	o.mu.Lock()
	defer o.mu.Unlock()
	if e, ok := o.streams[s]; ok {
		o.order.MoveToFront(e)
		return e.Value.(*observation)
	}
	it := &observation{stream: s, turn: make(chan struct{}, 1)}
	it.turn <- struct{}{}
	o.streams[s] = o.order.PushFront(it)
	if o.order.Len() > observedStreams {
		last := o.order.Back()
		o.order.Remove(last)
		delete(o.streams, last.Value.(*observation).stream)
	}
	return it
}

// Observe shows the state of a contended stream as it is in the log now. It costs one query, and what is new is folded; the
// state is see's only until it returns, and must not be changed.
func Observe[S, C any, E domain.Event](ctx context.Context, l *Ledger, k *Kind[S, C, E], id uuid.UUID, see func(Loaded[S])) error {
	it := l.observed.of(k.Stream(id))
	select {
	case <-it.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { it.turn <- struct{}{} }()
	now := Loaded[S]{State: k.Decider.Initial()}
	if it.state != nil {
		now = it.state.(Loaded[S])
	}
	it.state = nil // used up by the fold
	now, err := catchUp(ctx, l.store, k, it.stream, now)
	if err != nil {
		return err
	}
	it.state = now
	see(now)
	return nil
}
