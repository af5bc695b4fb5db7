package domaintest_test

import (
	"reflect"
	"time"

	"github.com/tenure-dev/tenure/domain"
)

// testingT is what rapid and testing have in common.
type testingT interface {
	Helper()
	Fatalf(format string, args ...any)
}

// stream is one decider with its past, as the log would keep it.
type stream[S, C, E any] struct {
	decider domain.Decider[S, C, E]
	past    []recorded[E]
	// state grows with the past, as an actor would keep it; it must be what a replay gives.
	state S
	// seen is called with every state on the way.
	seen func(S)
}

type recorded[E any] struct {
	event E
	meta  domain.Meta
}

func newStream[S, C, E any](d domain.Decider[S, C, E], seen func(S)) *stream[S, C, E] {
	return &stream[S, C, E]{decider: d, state: d.Initial(), seen: seen}
}

func (s *stream[S, C, E]) replay() S {
	state := s.decider.Initial()
	for _, r := range s.past {
		state = s.decider.Evolve(state, r.event, r.meta)
	}
	return state
}

// decide asks, and wants the state as it was, whatever the answer.
func (s *stream[S, C, E]) decide(t testingT, c C) ([]E, error) {
	t.Helper()
	events, err := s.decider.Decide(s.state, c)
	if !reflect.DeepEqual(s.state, s.replay()) {
		t.Fatalf("deciding %#v changed the state", c)
	}
	if err != nil && len(events) > 0 {
		t.Fatalf("refusing %#v came with facts", c)
	}
	return events, err
}

// apply appends facts.
func (s *stream[S, C, E]) apply(t testingT, events []E, now time.Time) {
	t.Helper()
	for _, e := range events {
		n := int64(len(s.past) + 1)
		r := recorded[E]{event: e, meta: domain.Meta{Position: n, Version: n, Epoch: 1, At: now}}
		s.past = append(s.past, r)
		s.state = s.decider.Evolve(s.state, e, r.meta)
		s.seen(s.state)
	}
	if !reflect.DeepEqual(s.state, s.replay()) {
		t.Fatalf("the state is not what a replay gives")
	}
}

// do decides and, unless refused, applies.
func (s *stream[S, C, E]) do(t testingT, c C, now time.Time) ([]E, error) {
	t.Helper()
	events, err := s.decide(t, c)
	if err == nil {
		s.apply(t, events, now)
	}
	return events, err
}
