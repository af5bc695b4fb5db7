// Package eventstoretest is the suite that every event store passes.
package eventstoretest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
)

// Run runs the suite; open makes an empty store for each test, and later begins another epoch of its log.
func Run(t *testing.T, open func(t *testing.T) eventstore.Store, later func(t *testing.T, s eventstore.Store)) {
	for name, test := range map[string]func(*testing.T, eventstore.Store){
		"an append is read back by stream and by position":               readBack,
		"positions are dense over conflicts":                             dense,
		"expectations on several streams fail together":                  failTogether,
		"a check on an unwritten stream holds the append":                checkUnwritten,
		"a version brought about by another append is not as expected":   broughtBy,
		"any expects nothing":                                            anyExpectation,
		"an append over several streams is atomic":                       atomicity,
		"the same id appends once":                                       sameID,
		"a command has one outcome":                                      oneCommand,
		"a command with another request is refused":                      reusedCommand,
		"a refused command is not remembered":                            refusedCommand,
		"twenty commands with one key at once have one outcome":          commandRace,
		"too late is refused":                                            tooLate,
		"inputs are there until dropped, and only with their append":     inputs,
		"inputs of appends at once are what the last of them made of it": inputsAtOnce,
		"what a former owner appends is refused":                         formerOwner,
		"no owner of an earlier epoch of the log is one of a later":      func(t *testing.T, s eventstore.Store) { ownerOfBefore(t, s, later) },
		"a partition that many want has one owner":                       oneOwner,
		"nothing of an owner comes after it lost its partition":          lastWord,
		"every hash follows from the layout and chains by stream":        hashes,
		"company positions are dense by company":                         companyPositions,
		"recordedAt never decreases":                                     monotonic,
		"concurrent writers leave no hole, no double and no wrong order": concurrent,
		"what the store could not take is refused before":                invalid,
		"bytes come back as they were":                                   bytesBack,
		"the head is the last event":                                     head,
		"changed fires after an append":                                  changed,
		"the ledger decides again when somebody was faster":              ledgerRace,
		"contended commands are folded without losing one":               ledgerContended,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// Event makes an event with a payload of its own.
func Event(stream eventstore.Stream, n int) eventstore.NewEvent {
	return eventstore.NewEvent{
		Stream: stream, Name: "SomethingHappened", Revision: 1, Company: Company, Payload: []byte(fmt.Sprintf(`{"n":%d}`, n)),
	}
}

// Company owns what the suite appends.
var Company = domain.CompanyID{UUID: uuid.MustParse("0192f0c1-0000-7000-8000-000000000001")}

// NewStream names a stream nobody else uses.
func NewStream() eventstore.Stream { return eventstore.StreamOf("thing", uuid.New()) }

// One is an append of one event to one stream.
func One(stream eventstore.Stream, expect eventstore.Expect, n int) eventstore.Append {
	return eventstore.Append{
		ID: uuid.New(), Expect: []eventstore.Expectation{{Stream: stream, Expect: expect}},
		Events: []eventstore.NewEvent{Event(stream, n)},
	}
}

// Do submits and waits.
func Do(t testing.TB, s eventstore.Appender, a eventstore.Append) (eventstore.Result, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return s.Submit(a).Wait(ctx)
}

// Must submits and waits for success.
func Must(t testing.TB, s eventstore.Appender, a eventstore.Append) eventstore.Result {
	t.Helper()
	r, err := Do(t, s, a)
	require.NoError(t, err)
	return r
}

// All reads the whole log.
func All(t testing.TB, s eventstore.Reader) []eventstore.Recorded {
	t.Helper()
	var out []eventstore.Recorded
	for {
		page, err := s.ReadAll(context.Background(), int64(len(out)), 0)
		require.NoError(t, err)
		if len(page) == 0 {
			return out
		}
		out = append(out, page...)
	}
}

func readBack(t *testing.T, s eventstore.Store) {
	stream := NewStream()
	a := One(stream, eventstore.NoStream, 1)
	a.Events = append(a.Events, Event(stream, 2))
	a.By = eventstore.Attribution{
		Actor: domain.PrincipalID{UUID: uuid.New()}, Key: domain.KeyID{UUID: uuid.New()}, Request: uuid.New(), Cause: uuid.New(),
	}
	r := Must(t, s, a)
	require.Equal(t, int64(1), r.First)
	require.Equal(t, int64(2), r.Last)

	events, err := s.ReadStream(t.Context(), stream, 0, 0)
	require.NoError(t, err)
	require.Len(t, events, 2)
	for i, e := range events {
		require.Equal(t, int64(i+1), e.Position)
		require.Equal(t, int64(i+1), e.Version)
		require.Equal(t, stream, e.Stream)
		require.Equal(t, a.ID, e.AppendID)
		require.Equal(t, i, e.AppendIndex)
		require.Equal(t, a.By, e.By)
		require.Equal(t, Company, e.Company)
		require.JSONEq(t, fmt.Sprintf(`{"n":%d}`, i+1), string(e.Payload))
		require.True(t, r.RecordedAt.Equal(e.RecordedAt))
	}
	require.Equal(t, events, All(t, s))
	tail, err := s.ReadStream(t.Context(), stream, 1, 0)
	require.NoError(t, err)
	require.Equal(t, events[1:], tail)
	one, err := s.ReadAll(t.Context(), 0, 1)
	require.NoError(t, err)
	require.Equal(t, events[:1], one)
}

func dense(t *testing.T, s eventstore.Store) {
	stream := NewStream()
	Must(t, s, One(stream, eventstore.NoStream, 1))
	for range 100 {
		_, err := Do(t, s, One(stream, eventstore.NoStream, 2))
		require.ErrorIs(t, err, eventstore.ErrConflict)
	}
	r := Must(t, s, One(stream, eventstore.Exactly(1), 2))
	require.Equal(t, int64(2), r.First)
}

func failTogether(t *testing.T, s eventstore.Store) {
	a, b, c := NewStream(), NewStream(), NewStream()
	Must(t, s, One(a, eventstore.NoStream, 1))
	Must(t, s, One(b, eventstore.NoStream, 1))
	try := One(a, eventstore.NoStream, 2)
	try.Expect = append(try.Expect,
		eventstore.Expectation{Stream: b, Expect: eventstore.Exactly(7)}, eventstore.Expectation{Stream: c, Expect: eventstore.NoStream})
	_, err := Do(t, s, try)
	conflict, ok := errors.AsType[*eventstore.ConflictError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, []eventstore.Mismatch{{Expectation: try.Expect[0], Actual: 1}, {Expectation: try.Expect[1], Actual: 1}}, conflict.Failed)
	require.Len(t, All(t, s), 2)
}

func checkUnwritten(t *testing.T, s eventstore.Store) {
	runtime, lease := NewStream(), NewStream()
	Must(t, s, One(runtime, eventstore.NoStream, 1))
	a := One(lease, eventstore.NoStream, 1)
	a.Expect = append(a.Expect, eventstore.Expectation{Stream: runtime, Expect: eventstore.Exactly(1)})
	Must(t, s, a)
	Must(t, s, One(runtime, eventstore.Exactly(1), 2))
	b := One(lease, eventstore.Exactly(1), 2)
	b.Expect = append(b.Expect, eventstore.Expectation{Stream: runtime, Expect: eventstore.Exactly(1)})
	_, err := Do(t, s, b)
	require.ErrorIs(t, err, eventstore.ErrConflict)
}

// broughtBy: an append that was decided on the outcome of another one, which then lost to a third at the same version.
func broughtBy(t *testing.T, s eventstore.Store) {
	stream := NewStream()
	Must(t, s, One(stream, eventstore.NoStream, 1))
	first, second := One(stream, eventstore.Exactly(1), 2), One(stream, eventstore.Exactly(2), 3)
	second.Expect[0].By = first.ID
	Must(t, s, One(stream, eventstore.Exactly(1), 4))
	p, q := s.Submit(first), s.Submit(second)
	for _, w := range []eventstore.Pending{p, q} {
		_, err := w.Wait(t.Context())
		require.ErrorIs(t, err, eventstore.ErrConflict)
	}
	third, fourth := One(stream, eventstore.Exactly(2), 5), One(stream, eventstore.Exactly(3), 6)
	fourth.Expect[0].By = third.ID
	p, q = s.Submit(third), s.Submit(fourth)
	for _, w := range []eventstore.Pending{p, q} {
		_, err := w.Wait(t.Context())
		require.NoError(t, err)
	}
}

func anyExpectation(t *testing.T, s eventstore.Store) {
	stream := NewStream()
	for n := range 3 {
		Must(t, s, One(stream, eventstore.Any, n))
	}
	events, err := s.ReadStream(t.Context(), stream, 0, 0)
	require.NoError(t, err)
	require.Len(t, events, 3)
}

func atomicity(t *testing.T, s eventstore.Store) {
	a, b := NewStream(), NewStream()
	both := eventstore.Append{
		ID:     uuid.New(),
		Expect: []eventstore.Expectation{{Stream: a, Expect: eventstore.NoStream}, {Stream: b, Expect: eventstore.NoStream}},
		Events: []eventstore.NewEvent{Event(a, 1), Event(b, 2), Event(a, 3)},
	}
	Must(t, s, both)
	again := both
	again.ID = uuid.New()
	again.Expect = []eventstore.Expectation{{Stream: a, Expect: eventstore.Exactly(2)}, {Stream: b, Expect: eventstore.NoStream}}
	_, err := Do(t, s, again)
	require.ErrorIs(t, err, eventstore.ErrConflict)
	require.Len(t, All(t, s), 3)
}

func sameID(t *testing.T, s eventstore.Store) {
	a := One(NewStream(), eventstore.NoStream, 1)
	first := Must(t, s, a)
	require.False(t, first.Replayed)
	for range 3 {
		again := Must(t, s, a)
		require.True(t, again.Replayed)
		require.Equal(t, first.First, again.First)
		require.Equal(t, first.Last, again.Last)
		require.True(t, first.RecordedAt.Equal(again.RecordedAt))
	}
	p, q := s.Submit(a), s.Submit(a)
	for _, w := range []eventstore.Pending{p, q} {
		r, err := w.Wait(t.Context())
		require.NoError(t, err)
		require.True(t, r.Replayed)
	}
	require.Len(t, All(t, s), 1)
}

func command(request byte) *eventstore.Command {
	return &eventstore.Command{Company: Company, Route: "POST /leases", Key: "k", RequestHash: [32]byte{request}, Resource: uuid.New()}
}

func oneCommand(t *testing.T, s eventstore.Store) {
	a := One(NewStream(), eventstore.NoStream, 1)
	a.Command = command(1)
	first := Must(t, s, a)
	b := One(NewStream(), eventstore.NoStream, 2)
	b.Command = command(1)
	again := Must(t, s, b)
	require.True(t, again.CommandReplayed)
	require.Equal(t, a.Command.Resource, again.Resource)
	require.Equal(t, first.First, again.First)
	require.Len(t, All(t, s), 1)

	found, err := s.FindCommand(t.Context(), *b.Command)
	require.NoError(t, err)
	require.Equal(t, eventstore.AcceptedCommand{Resource: a.Command.Resource, Position: first.First}, found)
	other := *b.Command
	other.Company = domain.CompanyID{UUID: uuid.New()}
	_, err = s.FindCommand(t.Context(), other)
	require.ErrorIs(t, err, eventstore.ErrNoCommand)
}

func reusedCommand(t *testing.T, s eventstore.Store) {
	a := One(NewStream(), eventstore.NoStream, 1)
	a.Command = command(1)
	Must(t, s, a)
	b := One(NewStream(), eventstore.NoStream, 1)
	b.Command = command(2)
	_, err := Do(t, s, b)
	require.ErrorIs(t, err, eventstore.ErrCommandReused)
	_, err = s.FindCommand(t.Context(), *b.Command)
	require.ErrorIs(t, err, eventstore.ErrCommandReused)
}

func refusedCommand(t *testing.T, s eventstore.Store) {
	stream := NewStream()
	Must(t, s, One(stream, eventstore.NoStream, 1))
	a := One(stream, eventstore.NoStream, 1)
	a.Command = command(1)
	_, err := Do(t, s, a)
	require.ErrorIs(t, err, eventstore.ErrConflict)
	_, err = s.FindCommand(t.Context(), *a.Command)
	require.ErrorIs(t, err, eventstore.ErrNoCommand)
}

func commandRace(t *testing.T, s eventstore.Store) {
	waits := make([]eventstore.Pending, 20)
	for i := range waits {
		a := One(NewStream(), eventstore.NoStream, i)
		a.Command = command(1)
		waits[i] = s.Submit(a)
	}
	resources := map[uuid.UUID]bool{}
	accepted := 0
	for _, w := range waits {
		r, err := w.Wait(t.Context())
		require.NoError(t, err)
		if r.CommandReplayed {
			resources[r.Resource] = true
		} else {
			accepted++
		}
	}
	require.Equal(t, 1, accepted)
	require.Len(t, resources, 1)
	require.Len(t, All(t, s), 1)
}

func tooLate(t *testing.T, s eventstore.Store) {
	a := One(NewStream(), eventstore.NoStream, 1)
	a.NotAfter = s.Clock().Now().Add(-time.Second)
	_, err := Do(t, s, a)
	require.ErrorIs(t, err, eventstore.ErrTooLate)
	a.NotAfter = s.Clock().Now().Add(time.Minute)
	Must(t, s, a)
}

func inputs(t *testing.T, s eventstore.Store) {
	stream := NewStream()
	value := []byte("secret\x00\xff")
	a := One(stream, eventstore.NoStream, 1)
	a.Inputs = []eventstore.Input{{ID: uuid.New(), Company: Company, Subject: stream, Value: value}}
	_, err := s.ReadInput(t.Context(), a.Inputs[0].ID)
	require.ErrorIs(t, err, eventstore.ErrNoInput)
	Must(t, s, a)
	got, err := s.ReadInput(t.Context(), a.Inputs[0].ID)
	require.NoError(t, err)
	require.Equal(t, a.Inputs[0], got)

	refused := One(stream, eventstore.NoStream, 2)
	refused.Inputs = []eventstore.Input{{ID: uuid.New(), Company: Company, Subject: stream, Value: value}}
	refused.DropInputs = []uuid.UUID{a.Inputs[0].ID}
	_, err = Do(t, s, refused)
	require.ErrorIs(t, err, eventstore.ErrConflict)
	_, err = s.ReadInput(t.Context(), refused.Inputs[0].ID)
	require.ErrorIs(t, err, eventstore.ErrNoInput)
	_, err = s.ReadInput(t.Context(), a.Inputs[0].ID)
	require.NoError(t, err)

	drop := One(stream, eventstore.Exactly(1), 2)
	drop.DropInputs = []uuid.UUID{a.Inputs[0].ID}
	Must(t, s, drop)
	_, err = s.ReadInput(t.Context(), a.Inputs[0].ID)
	require.ErrorIs(t, err, eventstore.ErrNoInput)
}

// inputsAtOnce: whether a store writes appends one by one or many in one go, an input is what the last of them made of it.
func inputsAtOnce(t *testing.T, s eventstore.Store) {
	stream := NewStream()
	Must(t, s, One(stream, eventstore.NoStream, 1))
	kept, gone := uuid.New(), uuid.New()
	change := func(keep, drop []uuid.UUID) eventstore.Pending {
		a := One(stream, eventstore.Any, 2)
		for _, id := range keep {
			a.Inputs = append(a.Inputs, eventstore.Input{ID: id, Company: Company, Subject: stream, Value: []byte("v")})
		}
		a.DropInputs = drop
		return s.Submit(a)
	}
	for range 3 { // the first is written while the others gather
		waits := []eventstore.Pending{
			change(nil, []uuid.UUID{kept}), change([]uuid.UUID{kept, gone}, nil), change(nil, []uuid.UUID{kept}), change([]uuid.UUID{kept}, nil),
			change(nil, []uuid.UUID{gone}),
		}
		for _, w := range waits {
			_, err := w.Wait(t.Context())
			require.NoError(t, err)
		}
		_, err := s.ReadInput(t.Context(), kept)
		require.NoError(t, err)
		_, err = s.ReadInput(t.Context(), gone)
		require.ErrorIs(t, err, eventstore.ErrNoInput)
	}
}
