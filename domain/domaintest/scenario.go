// Package domaintest helps to test deciders: given these facts, when this is asked, then these facts or this refusal.
//
//	Given(t, lease.Decider, facts...).When(command) ──► Then(facts...) | Nothing() | Refused(kind, code, field)
//
// It also has one sample of every event, and ids to build facts from.
package domaintest

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
)

// Scenario is a decider with a past.
type Scenario[S, C, E any] struct {
	t       testing.TB
	decider domain.Decider[S, C, E]
	past    []E
}

// Given is the decider after facts.
func Given[S, C, E any](t testing.TB, d domain.Decider[S, C, E], facts ...E) Scenario[S, C, E] {
	return Scenario[S, C, E]{t: t, decider: d, past: facts}
}

// State is the state that the facts add up to.
func (s Scenario[S, C, E]) State() S { return s.decider.Fold(s.past) }

// When asks. Whatever the answer, the state must be as it was.
func (s Scenario[S, C, E]) When(command C) Outcome[S, C, E] {
	s.t.Helper()
	state := s.State()
	events, err := s.decider.Decide(state, command)
	require.Equal(s.t, s.State(), state, "deciding changed the state")
	if err != nil {
		require.Empty(s.t, events, "a refusal came with facts")
	}
	return Outcome[S, C, E]{scenario: s, events: events, err: err}
}

// Outcome is the answer of a decider.
type Outcome[S, C, E any] struct {
	scenario Scenario[S, C, E]
	events   []E
	err      error
}

// Then wants exactly these facts, and returns the scenario after them.
func (o Outcome[S, C, E]) Then(facts ...E) Scenario[S, C, E] {
	o.scenario.t.Helper()
	require.NoError(o.scenario.t, o.err)
	if diff := cmp.Diff(facts, o.events, cmpopts.EquateEmpty()); diff != "" {
		o.scenario.t.Fatalf("other facts (-want +got):\n%s", diff)
	}
	after := o.scenario
	after.past = append(append([]E{}, o.scenario.past...), o.events...)
	return after
}

// Nothing wants neither facts nor a refusal.
func (o Outcome[S, C, E]) Nothing() {
	o.scenario.t.Helper()
	o.Then()
}

// Refused wants a refusal. One of a wrong command must name the field at fault and say how to mend it.
func (o Outcome[S, C, E]) Refused(kind domain.Kind, code, field string) domain.Refusal {
	t := o.scenario.t
	t.Helper()
	r, ok := errors.AsType[*domain.Refusal](o.err)
	require.True(t, ok, "want a refusal %s, got %v with %v", code, o.err, o.events)
	require.Equal(t, kind, r.Kind)
	require.Equal(t, code, r.Code)
	require.Equal(t, field, r.Field)
	require.NotEmpty(t, r.Message)
	if kind == domain.KindInvalid && code != "unknown_command" {
		require.NotEmpty(t, r.Field, "the refusal does not name the field at fault")
		require.NotEmpty(t, r.Remediation, "the refusal does not say how to mend it")
	}
	return *r
}

// ID is the n-th id of a kind; it is the same in every test.
func ID[I ~struct{ uuid.UUID }](n byte) I {
	var u uuid.UUID
	u[0], u[6], u[8], u[15] = 0xa0, 0x40, 0x80, n
	return I(struct{ uuid.UUID }{u})
}
