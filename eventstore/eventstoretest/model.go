package eventstoretest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
)

// Same runs random sequences of appends on two stores and holds every answer and what is in the stores at the end against
// each other. open gives two empty stores.
func Same(t *testing.T, open func(t *rapid.T) (a, b eventstore.Store)) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := open(t)
		m := newModel()
		for range rapid.IntRange(1, 8).Draw(t, "batches") {
			batch := make([]eventstore.Append, rapid.IntRange(1, 6).Draw(t, "appends"))
			for i := range batch {
				batch[i] = m.draw(t)
			}
			left, right := submit(a, batch), submit(b, batch)
			if diff := cmp.Diff(left, right); diff != "" {
				t.Fatalf("the answers differ (-first +second):\n%s", diff)
			}
		}
		compareStores(t, m, a, b)
	})
}

// model draws appends from so few streams, ids, keys and inputs that they meet.
type model struct {
	streams   []eventstore.Stream
	companies []domain.CompanyID
	appends   []eventstore.Append
	inputs    []uuid.UUID
}

func newModel() *model {
	m := &model{companies: []domain.CompanyID{{}, Company, {UUID: uuid.MustParse("0192f0c1-0000-7000-8000-000000000002")}}}
	for n := range 4 {
		m.streams = append(m.streams, eventstore.StreamOf("thing", uuid.NewSHA1(uuid.Nil, []byte{byte(n)})))
	}
	return m
}

// draw is an append: most are likely to hold, some cannot.
func (m *model) draw(t *rapid.T) eventstore.Append {
	if len(m.appends) > 0 && rapid.IntRange(0, 9).Draw(t, "again") == 0 {
		return rapid.SampledFrom(m.appends).Draw(t, "append")
	}
	a := eventstore.Append{ID: uuid.NewSHA1(uuid.Nil, []byte(fmt.Sprint("append", len(m.appends))))}
	streams := rapid.Permutation(m.streams).Draw(t, "streams")[:rapid.IntRange(1, 3).Draw(t, "width")]
	for _, s := range streams {
		x := eventstore.Expectation{Stream: s, Expect: eventstore.Expect(rapid.IntRange(-1, 6).Draw(t, "expect"))}
		if rapid.Bool().Draw(t, "easy") {
			x.Expect = eventstore.Any
		}
		if len(m.appends) > 0 && rapid.IntRange(0, 7).Draw(t, "by") == 0 {
			x.By = rapid.SampledFrom(m.appends).Draw(t, "bringer").ID
		}
		a.Expect = append(a.Expect, x)
	}
	for n := range rapid.IntRange(1, 4).Draw(t, "events") {
		e := Event(rapid.SampledFrom(streams).Draw(t, "stream"), n)
		e.Company = rapid.SampledFrom(m.companies).Draw(t, "company")
		a.Events = append(a.Events, e)
	}
	m.drawSide(t, &a)
	m.appends = append(m.appends, a)
	return a
}

// drawSide adds what an append carries beside its events.
func (m *model) drawSide(t *rapid.T, a *eventstore.Append) {
	if rapid.IntRange(0, 2).Draw(t, "command") == 0 {
		a.Command = &eventstore.Command{
			Company: rapid.SampledFrom(m.companies).Draw(t, "owner"), Route: "r", Key: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"),
			RequestHash: [32]byte{byte(rapid.IntRange(0, 1).Draw(t, "request"))}, Resource: a.ID,
		}
	}
	switch rapid.IntRange(0, 9).Draw(t, "limit") {
	case 0:
		a.NotAfter = time.Now().Add(-time.Hour)
	case 1:
		a.NotAfter = time.Now().Add(time.Hour)
	}
	if rapid.IntRange(0, 3).Draw(t, "owned") == 0 {
		// Nobody has taken a partition, so that epoch 0 is right.
		a.Owner = &eventstore.Ownership{Partition: rapid.IntRange(0, 1).Draw(t, "partition"), Epoch: int64(rapid.IntRange(0, 1).Draw(t, "ownership"))}
	}
	if len(m.inputs) > 0 && rapid.IntRange(0, 3).Draw(t, "drop") == 0 {
		a.DropInputs = []uuid.UUID{rapid.SampledFrom(m.inputs).Draw(t, "dropped")}
	}
	if rapid.IntRange(0, 3).Draw(t, "keep") == 0 {
		id := uuid.NewSHA1(uuid.Nil, []byte(fmt.Sprint("input", len(m.inputs))))
		m.inputs = append(m.inputs, id)
		a.Inputs = []eventstore.Input{{ID: id, Subject: a.Events[0].Stream, Value: []byte{byte(len(m.inputs))}}}
	}
}

// answer is what of an answer both stores must agree on.
type answer struct {
	First, Last               int64
	Replayed, CommandReplayed bool
	Resource                  uuid.UUID
	Error                     string
	Failed                    []eventstore.Mismatch
}

// kinds are the answers that are errors.
var kinds = []error{
	eventstore.ErrConflict, eventstore.ErrCommandReused, eventstore.ErrTooLate, eventstore.ErrStaleEpoch, eventstore.ErrInvalid,
	eventstore.ErrUnknownOutcome, eventstore.ErrUnavailable, eventstore.ErrNoCommand, eventstore.ErrNoInput,
	eventstore.ErrNotOwner,
}

func kindOf(err error) string {
	i := slices.IndexFunc(kinds, func(k error) bool { return errors.Is(err, k) })
	switch {
	case err == nil:
		return ""
	case i < 0:
		return err.Error()
	}
	return kinds[i].Error()
}

func submit(s eventstore.Appender, batch []eventstore.Append) (answers []answer) {
	waits := make([]eventstore.Pending, len(batch))
	for i, a := range batch {
		waits[i] = s.Submit(a)
	}
	for _, w := range waits {
		r, err := w.Wait(context.Background())
		got := answer{
			First: r.First, Last: r.Last, Replayed: r.Replayed, CommandReplayed: r.CommandReplayed, Resource: r.Resource, Error: kindOf(err),
		}
		if conflict, ok := errors.AsType[*eventstore.ConflictError](err); ok {
			got.Failed = conflict.Failed
		}
		answers = append(answers, got)
	}
	return answers
}

// compareStores holds logs, commands and inputs against each other. Times, salts and what follows from them are each store's own.
func compareStores(t *rapid.T, m *model, a, b eventstore.Store) {
	logs := [2][]eventstore.Recorded{}
	for i, s := range []eventstore.Store{a, b} {
		var err error
		logs[i], err = s.ReadAll(context.Background(), 0, 1_000_000)
		require.NoError(t, err)
		for n := range logs[i] {
			r := &logs[i][n]
			require.Equal(t, eventstore.Hash(*r), r.Hash)
			r.RecordedAt, r.Salt, r.Commitment, r.PrevHash, r.Hash = time.Time{}, nil, nil, nil, nil
		}
	}
	if diff := cmp.Diff(logs[0], logs[1], cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("the logs differ (-first +second):\n%s", diff)
	}
	for _, ap := range m.appends {
		if ap.Command == nil {
			continue
		}
		left, leftErr := a.FindCommand(context.Background(), *ap.Command)
		right, rightErr := b.FindCommand(context.Background(), *ap.Command)
		require.Equal(t, left, right)
		require.Equal(t, kindOf(leftErr), kindOf(rightErr))
	}
	for _, id := range m.inputs {
		left, leftErr := a.ReadInput(context.Background(), id)
		right, rightErr := b.ReadInput(context.Background(), id)
		require.Equal(t, left, right)
		require.Equal(t, kindOf(leftErr), kindOf(rightErr))
	}
}
