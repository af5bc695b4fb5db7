// Package memory is an event store in the memory of the process: a real implementation, which passes the same suite as the
// one on Postgres, for tests and simulations.
package memory

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
)

// Store is an event store in memory. Its zero value is not ready; see [New].
type Store struct {
	clock eventstore.Clock

	mu       sync.Mutex
	log      []eventstore.Recorded
	streams  map[eventstore.Stream][]int // indexes into log
	company  map[domain.CompanyID]int64
	appends  map[uuid.UUID]eventstore.Result
	commands map[command]accepted
	inputs   map[uuid.UUID]eventstore.Input
	epoch    int64
	owners   [eventstore.PartitionCount]eventstore.Partition
	changed  chan struct{}
	closed   bool
}

type command struct {
	company    domain.CompanyID
	route, key string
}

type accepted struct {
	request  [32]byte
	resource uuid.UUID
	position int64
	at       time.Time
}

var _ eventstore.Store = (*Store)(nil)

// Epoch is the first epoch of every store in memory.
const Epoch = 1

// New makes an empty store.
func New() *Store {
	return &Store{
		streams: map[eventstore.Stream][]int{}, company: map[domain.CompanyID]int64{}, appends: map[uuid.UUID]eventstore.Result{},
		commands: map[command]accepted{}, inputs: map[uuid.UUID]eventstore.Input{}, changed: make(chan struct{}), epoch: Epoch,
	}
}

// Close refuses further appends.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// Epoch is [Epoch], unless a test began another one.
func (s *Store) Epoch() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch
}

// BeginEpoch begins the next epoch, as a store on Postgres does that finds its log set back. This log is whole: only what was
// decided on the epoch before is refused.
func (s *Store) BeginEpoch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	for n := range s.owners {
		s.owners[n].Epoch = eventstore.FirstOwner(s.epoch)
	}
}

// Clock is this process's clock.
func (s *Store) Clock() *eventstore.Clock { return &s.clock }

type done struct {
	result eventstore.Result
	err    error
}

// Wait returns the outcome, which is there already.
func (d done) Wait(context.Context) (eventstore.Result, error) { return d.result, d.err }

// Submit judges the append and writes it at once.
func (s *Store) Submit(a eventstore.Append) eventstore.Pending {
	if err := a.Validate(); err != nil {
		return done{err: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	result, err := s.append(a)
	if err == nil && !result.Replayed && !result.CommandReplayed {
		close(s.changed)
		s.changed = make(chan struct{})
	}
	return done{result, err}
}

func (s *Store) append(a eventstore.Append) (eventstore.Result, error) {
	if s.closed {
		return eventstore.Result{}, fmt.Errorf("%w: the store is closed", eventstore.ErrUnavailable)
	}
	if r, ok := s.appends[a.ID]; ok {
		r.Replayed = true
		return r, nil
	}
	if a.Epoch != 0 && a.Epoch != s.epoch {
		return eventstore.Result{}, fmt.Errorf("%w: it is %d", eventstore.ErrStaleEpoch, s.epoch)
	}
	if o := a.Owner; o != nil && s.owners[o.Partition].Epoch != o.Epoch {
		return eventstore.Result{}, eventstore.ErrNotOwner
	}
	now := s.now()
	if c := a.Command; c != nil {
		if old, ok := s.commands[commandOf(c)]; ok {
			if old.request != c.RequestHash {
				return eventstore.Result{}, eventstore.ErrCommandReused
			}
			return eventstore.Result{
				First: old.position, Last: old.position, Epoch: s.epoch, RecordedAt: now, CommandReplayed: true, Resource: old.resource,
			}, nil
		}
	}
	if !a.NotAfter.IsZero() && s.clock.Now().After(a.NotAfter) {
		return eventstore.Result{}, eventstore.ErrTooLate
	}
	var failed []eventstore.Mismatch
	for _, x := range a.Expect {
		v, by := s.end(x.Stream)
		if !x.Expect.Holds(v) || x.By != uuid.Nil && x.By != by {
			failed = append(failed, eventstore.Mismatch{Expectation: x, Actual: v})
		}
	}
	if len(failed) > 0 {
		return eventstore.Result{}, &eventstore.ConflictError{Failed: failed}
	}
	return s.write(a, now), nil
}

// end is the version of a stream and the append that brought it there.
func (s *Store) end(stream eventstore.Stream) (version int64, by uuid.UUID) {
	indexes := s.streams[stream]
	if len(indexes) == 0 {
		return 0, uuid.Nil
	}
	return int64(len(indexes)), s.log[indexes[len(indexes)-1]].AppendID
}

func (s *Store) write(a eventstore.Append, now time.Time) eventstore.Result {
	first := int64(len(s.log)) + 1
	for i, e := range a.Events {
		s.log = append(s.log, s.record(a, i, e, now))
		s.streams[e.Stream] = append(s.streams[e.Stream], len(s.log)-1)
	}
	result := eventstore.Result{First: first, Last: int64(len(s.log)), Epoch: s.epoch, RecordedAt: now}
	s.appends[a.ID] = result
	if c := a.Command; c != nil {
		s.commands[commandOf(c)] = accepted{request: c.RequestHash, resource: c.Resource, position: first, at: now}
	}
	for _, in := range a.Inputs {
		in.Value = bytes.Clone(in.Value)
		s.inputs[in.ID] = in
	}
	for _, id := range a.DropInputs {
		delete(s.inputs, id)
	}
	return result
}

func (s *Store) record(a eventstore.Append, i int, e eventstore.NewEvent, now time.Time) eventstore.Recorded {
	s.company[e.Company]++
	prev := eventstore.NoHash()
	stream := s.streams[e.Stream]
	if n := len(stream); n > 0 {
		prev = s.log[stream[n-1]].Hash
	}
	salt := eventstore.NewSalt()
	r := eventstore.Recorded{
		Position: int64(len(s.log)) + 1, Epoch: s.epoch, Stream: e.Stream, Version: int64(len(stream)) + 1,
		Name: e.Name, Revision: e.Revision, Company: e.Company, CompanyPosition: s.company[e.Company], RecordedAt: now,
		AppendID: a.ID, AppendIndex: i, By: a.By, Payload: bytes.Clone(e.Payload),
		Salt: salt, Commitment: eventstore.Commit(salt, e.Payload), PrevHash: prev,
	}
	r.Hash = eventstore.Hash(r)
	return r
}

// now never goes back behind the last event.
func (s *Store) now() time.Time {
	now := s.clock.Now()
	if n := len(s.log); n > 0 && now.Before(s.log[n-1].RecordedAt) {
		return s.log[n-1].RecordedAt
	}
	return now
}

func commandOf(c *eventstore.Command) command { return command{c.Company, c.Route, c.Key} }

// ReadStream returns events of one stream.
func (s *Store) ReadStream(_ context.Context, stream eventstore.Stream, after int64, limit int) ([]eventstore.Recorded, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	indexes := s.streams[stream]
	var out []eventstore.Recorded
	for _, n := range indexes[min(max(after, 0), int64(len(indexes))):] {
		if len(out) == pageSize(limit) {
			break
		}
		out = append(out, s.log[n])
	}
	return out, nil
}

// ReadAll returns events of the whole log.
func (s *Store) ReadAll(_ context.Context, after int64, limit int) ([]eventstore.Recorded, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := s.log[min(max(after, 0), int64(len(s.log))):]
	return append([]eventstore.Recorded(nil), rest[:min(len(rest), pageSize(limit))]...), nil
}

// Head returns the end of the log.
func (s *Store) Head(context.Context) (eventstore.Head, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := eventstore.Head{Position: int64(len(s.log)), Epoch: s.epoch}
	if h.Position > 0 {
		h.RecordedAt = s.log[h.Position-1].RecordedAt
	}
	return h, nil
}

// FindCommand returns what an accepted command made.
func (s *Store) FindCommand(_ context.Context, c eventstore.Command) (eventstore.AcceptedCommand, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.commands[commandOf(&c)]
	switch {
	case !ok:
		return eventstore.AcceptedCommand{}, eventstore.ErrNoCommand
	case old.request != c.RequestHash:
		return eventstore.AcceptedCommand{}, eventstore.ErrCommandReused
	}
	return eventstore.AcceptedCommand{Resource: old.resource, Position: old.position}, nil
}

// ReadInput returns a value kept beside the log.
func (s *Store) ReadInput(_ context.Context, id uuid.UUID) (eventstore.Input, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in, ok := s.inputs[id]
	if !ok {
		return eventstore.Input{}, eventstore.ErrNoInput
	}
	in.Value = bytes.Clone(in.Value)
	return in, nil
}

// Changed returns a channel that is closed when there is more to read than there was at the call.
func (s *Store) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func pageSize(limit int) int {
	if limit <= 0 {
		return eventstore.PageSize
	}
	return limit
}
