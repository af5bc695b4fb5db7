// Package domain holds the rules of Tenure as pure functions: what a command may do in a state, and what state a fact
// leaves behind.
//
// Each part (company, environment, admission, lease, runtime, leak, node …) is a [Decider]. Nothing here reads a clock,
// makes an id, or touches anything outside: time and ids come inside the commands, and the storage of facts is the
// business of package eventstore. That is what lets the whole life of a lease be tested in microseconds and replayed years
// later with the same outcome.
package domain

import "time"

// Decider is the one shape of every part of the domain.
type Decider[S, C, E any] struct {
	// Initial is the state before the first event.
	Initial func() S
	// Decide answers a command with the facts it leads to, or with a [*Refusal]. No facts and no error means that the
	// command changes nothing (release twice is harmless).
	Decide func(S, C) ([]E, error)
	// Evolve is the state after a fact. It only assigns, never refuses and never panics, whatever the order of facts.
	Evolve func(S, E, Meta) S
}

// Meta is what the log says of a recorded event besides its content.
type Meta struct {
	// Position is the event's place in the log, Version its place in its stream; both count from 1.
	Position int64
	Version  int64
	// Epoch is the incarnation of the log.
	Epoch int64
	// At is the database's time of the append, non-decreasing in Position.
	At time.Time
}

// MaxDuration is the longest span that a command may ask for; a longer one is a mistake, and far longer ones would overflow.
const MaxDuration = 366 * 24 * time.Hour

// FenceBits is how far the epoch is shifted in a fence.
const FenceBits = 40

// Fence orders holders: a newer grant always has the larger one, also after the log got a new epoch.
func (m Meta) Fence() int64 { return m.Epoch<<FenceBits + m.Position }

// Fold replays events over the initial state, with invented metas: one second and one position after another.
func (d Decider[S, C, E]) Fold(events []E) S {
	s := d.Initial()
	for i, e := range events {
		n := int64(i + 1)
		s = d.Evolve(s, e, Meta{Position: n, Version: n, Epoch: 1, At: time.Unix(n, 0).UTC()})
	}
	return s
}
