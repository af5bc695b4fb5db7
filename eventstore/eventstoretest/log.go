package eventstoretest

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
)

// What the log itself promises: order, hashes, bytes.

func hashes(t *testing.T, s eventstore.Store) {
	a, b := NewStream(), NewStream()
	for n := range 3 {
		Must(t, s, eventstore.Append{
			ID:     uuid.New(),
			Expect: []eventstore.Expectation{{Stream: a, Expect: eventstore.Any}, {Stream: b, Expect: eventstore.Any}},
			Events: []eventstore.NewEvent{Event(a, n), Event(b, n), Event(a, n)},
			By:     eventstore.Attribution{Actor: domain.PrincipalID{UUID: uuid.New()}},
		})
	}
	prev := map[eventstore.Stream][]byte{a: eventstore.NoHash(), b: eventstore.NoHash()}
	for _, r := range All(t, s) {
		require.Equal(t, eventstore.Commit(r.Salt, r.Payload), r.Commitment)
		require.Equal(t, prev[r.Stream], r.PrevHash)
		require.Equal(t, eventstore.Hash(r), r.Hash, "position %d", r.Position)
		prev[r.Stream] = r.Hash
	}
}

func companyPositions(t *testing.T, s eventstore.Store) {
	other := domain.CompanyID{UUID: uuid.New()}
	for n := range 5 {
		a := One(NewStream(), eventstore.NoStream, n)
		e := Event(a.Events[0].Stream, n)
		e.Company = []domain.CompanyID{other, {}}[n%2]
		a.Events = append(a.Events, e)
		Must(t, s, a)
	}
	next := map[domain.CompanyID]int64{}
	for _, r := range All(t, s) {
		next[r.Company]++
		require.Equal(t, next[r.Company], r.CompanyPosition)
	}
	require.Len(t, next, 3)
}

func monotonic(t *testing.T, s eventstore.Store) {
	for n := range 50 {
		Must(t, s, One(NewStream(), eventstore.NoStream, n))
	}
	var last time.Time
	for _, r := range All(t, s) {
		require.False(t, r.RecordedAt.Before(last))
		last = r.RecordedAt
	}
}

func concurrent(t *testing.T, s eventstore.Store) {
	const writers, each = 16, 40
	shared := NewStream()
	Must(t, s, One(shared, eventstore.NoStream, 0))
	var wg sync.WaitGroup
	acked := make(chan int64, writers*each)
	for w := range writers {
		wg.Go(func() {
			own := NewStream()
			for n := range each {
				a := One(own, eventstore.Exactly(int64(n)), n)
				if n%4 == w%4 {
					// Somebody else's stream is checked too: conflicts happen and must change nothing.
					a.Expect = append(a.Expect, eventstore.Expectation{Stream: shared, Expect: eventstore.Any})
					a.Events = append(a.Events, Event(shared, n))
				}
				r, err := s.Submit(a).Wait(context.Background())
				if err != nil {
					t.Error(err)
					return
				}
				acked <- r.First
			}
		})
	}
	wg.Wait()
	close(acked)
	log := All(t, s)
	versions := map[eventstore.Stream]int64{}
	for i, r := range log {
		require.Equal(t, int64(i+1), r.Position)
		versions[r.Stream]++
		require.Equal(t, versions[r.Stream], r.Version)
	}
	seen := map[int64]bool{}
	for first := range acked {
		require.False(t, seen[first])
		seen[first] = true
	}
	require.Len(t, seen, writers*each)
}

func invalid(t *testing.T, s eventstore.Store) {
	stream := NewStream()
	for name, change := range map[string]func(*eventstore.Append){
		"no id":            func(a *eventstore.Append) { a.ID = uuid.Nil },
		"no events":        func(a *eventstore.Append) { a.Events = nil },
		"not JSON":         func(a *eventstore.Append) { a.Events[0].Payload = []byte("nope") },
		"no name":          func(a *eventstore.Append) { a.Events[0].Name = "" },
		"no expectation":   func(a *eventstore.Append) { a.Expect = nil },
		"twice expected":   func(a *eventstore.Append) { a.Expect = append(a.Expect, a.Expect[0]) },
		"a large event":    func(a *eventstore.Append) { a.Events[0].Payload = large(eventstore.MaxEventBytes) },
		"negative version": func(a *eventstore.Append) { a.Expect[0].Expect = -2 },
		"too many events":  func(a *eventstore.Append) { a.Events = many(stream, eventstore.MaxAppendEvents+1) },
		"large all in all": func(a *eventstore.Append) { a.Events = manyLarge(stream) },
		"too large an input": func(a *eventstore.Append) {
			a.Inputs = []eventstore.Input{{ID: uuid.New(), Value: make([]byte, eventstore.MaxInputBytes+1)}}
		},
	} {
		a := One(stream, eventstore.NoStream, 1)
		change(&a)
		_, err := Do(t, s, a)
		require.ErrorIs(t, err, eventstore.ErrInvalid, name)
	}
	require.Empty(t, All(t, s))
	a := One(stream, eventstore.NoStream, 1)
	a.Events = many(stream, eventstore.MaxAppendEvents)
	Must(t, s, a)
}

func many(stream eventstore.Stream, n int) (out []eventstore.NewEvent) {
	for i := range n {
		out = append(out, Event(stream, i))
	}
	return out
}

func manyLarge(stream eventstore.Stream) (out []eventstore.NewEvent) {
	for i := range 6 {
		e := Event(stream, i)
		e.Payload = large(200 << 10)
		out = append(out, e)
	}
	return out
}

func large(n int) []byte {
	b, _ := json.Marshal(string(make([]byte, 0)) + fmt.Sprintf("%0*d", n, 0))
	return b
}

// bytesBack is case A22: NUL and broken Unicode, escaped as JSON has them, survive.
func bytesBack(t *testing.T, s eventstore.Store) {
	for _, payload := range []string{
		`{"v":"a\u0000b"}`, `{"v":"\ud83d"}`, `{"v":"\\u0000"}`, `{"v":"` + "\u2028\U0001F600" + `"}`, "{\"v\":\"\xff\"}", `{ "v" : 1e400 }`,
	} {
		a := One(NewStream(), eventstore.NoStream, 1)
		a.Events[0].Payload = []byte(payload)
		r := Must(t, s, a)
		page, err := s.ReadAll(t.Context(), r.First-1, 1)
		require.NoError(t, err)
		require.Equal(t, payload, string(page[0].Payload))
	}
}

func head(t *testing.T, s eventstore.Store) {
	h, err := s.Head(t.Context())
	require.NoError(t, err)
	require.Zero(t, h.Position)
	r := Must(t, s, One(NewStream(), eventstore.NoStream, 1))
	h, err = s.Head(t.Context())
	require.NoError(t, err)
	require.Equal(t, eventstore.Head{Position: 1, Epoch: r.Epoch, RecordedAt: r.RecordedAt}, h)
}

func changed(t *testing.T, s eventstore.Store) {
	ch := s.Changed()
	Must(t, s, One(NewStream(), eventstore.NoStream, 1))
	select {
	case <-ch:
	case <-time.After(time.Minute):
		t.Fatal("nobody was told")
	}
}
