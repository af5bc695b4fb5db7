package eventstore

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
)

// Kind ties a decider to its streams in the log.
type Kind[S, C any, E domain.Event] struct {
	Category string
	Decider  domain.Decider[S, C, E]
	Codec    domain.Codec[E]
	// Contended streams take many commands at once (the admission of an environment). Within one process they are decided
	// one after the other, each on the state that the one before will leave, without waiting for its append; so a batch of
	// the log takes many of them. Evolve of such a kind must take nothing from its Meta that anything is decided by (an
	// append under way has none yet; see [Observe]), and may use up the state it is given.
	Contended bool
	// Clone copies a state of a contended kind, so that Evolve uses up one and not the other.
	Clone func(S) S
}

// Stream is the stream of one thing of this kind.
func (k *Kind[S, C, E]) Stream(id uuid.UUID) Stream { return StreamOf(k.Category, id) }

// Fold is the state after more events of the stream.
func (k *Kind[S, C, E]) Fold(s S, events []Recorded) (S, error) {
	for _, r := range events {
		e, err := k.Codec.Decode(r.Name, r.Revision, r.Payload)
		if err != nil {
			return s, fmt.Errorf("event %d: %w", r.Position, err)
		}
		s = k.Decider.Evolve(s, e, r.Meta())
	}
	return s, nil
}

// Loaded is a state, and the version and the position of the last event in it.
type Loaded[S any] struct {
	State    S
	Version  int64
	Position int64
	// by is the append under way that will bring the stream to Version; zero when it is there.
	by uuid.UUID
}

// Load is the state of a stream in the log as of the call: what is remembered, and what was read after it.
func Load[S, C any, E domain.Event](ctx context.Context, l *Ledger, k *Kind[S, C, E], id uuid.UUID) (Loaded[S], error) {
	stream := k.Stream(id)
	epoch := l.epoch()
	from := Loaded[S]{State: k.Decider.Initial()}
	if !k.Contended {
		if remembered, _ := l.cache.get(stream); remembered != nil {
			from = remembered.(Loaded[S])
		}
	}
	now, err := catchUp(ctx, l.store, k, stream, from)
	if err == nil && !k.Contended {
		l.cache.put(epoch, stream, now.Version, now)
	}
	return now, err
}

// Recall is the state of a stream as far as this process knows. What it appended, read, or was told of ([Ledger.Note]) is
// in it; what another process appended a moment ago may not be. So it serves whoever was told that there is something new,
// or has just appended it, and costs no query unless there is more than is remembered.
func Recall[S, C any, E domain.Event](ctx context.Context, l *Ledger, k *Kind[S, C, E], id uuid.UUID) (Loaded[S], error) {
	l.epoch()
	if remembered, current := l.cache.get(k.Stream(id)); current {
		return remembered.(Loaded[S]), nil
	}
	return Load(ctx, l, k, id)
}

// catchUp folds what the log has after from. With an error it returns how far it got, which may be the very beginning.
func catchUp[S, C any, E domain.Event](ctx context.Context, r Reader, k *Kind[S, C, E], stream Stream, from Loaded[S]) (Loaded[S], error) {
	for {
		page, err := r.ReadStream(ctx, stream, from.Version, PageSize)
		if err != nil {
			return from, fmt.Errorf("load %s: %w", stream, err)
		}
		if from.State, err = k.Fold(from.State, page); err != nil {
			return Loaded[S]{State: k.Decider.Initial()}, fmt.Errorf("load %s: %w", stream, err)
		}
		if len(page) > 0 {
			last := page[len(page)-1]
			from.Version, from.Position = last.Version, last.Position
		}
		if len(page) < PageSize {
			return from, nil
		}
	}
}
