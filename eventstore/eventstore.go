// Package eventstore is the log: the only truth of Tenure.
//
// The log is one sequence of events with dense positions (1, 2, 3 …, no holes, in commit order), divided into streams in
// which each event has a version. An [Append] puts events on one or more streams, atomically, if what it expects of streams
// holds; it may also expect something of streams it does not write. Every append has an id, so that an append whose outcome
// was lost is repeated and happens once.
//
//	Append ──► judged in order, under one lock ──► all its events, next to each other │ or none, and why
//
// eventstore/memory and eventstore/pg are the two stores; eventstoretest is the suite that both pass. [Execute] is how
// deciders of package domain and the log meet: load, decide, append, and again if somebody else was faster.
package eventstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
)

// Stream names a stream: its category, a hyphen and an id.
type Stream string

// StreamOf is the stream of a thing.
func StreamOf(category string, id uuid.UUID) Stream { return Stream(category + "-" + id.String()) }

// Category is the part before the first hyphen.
func (s Stream) Category() string {
	category, _, _ := strings.Cut(string(s), "-")
	return category
}

// ID is the id of the thing whose stream this is.
func (s Stream) ID() (uuid.UUID, error) {
	_, rest, _ := strings.Cut(string(s), "-")
	id, err := uuid.Parse(rest)
	if err != nil {
		return uuid.Nil, fmt.Errorf("stream %q: %w", s, err)
	}
	return id, nil
}

// Attribution says who caused an append, in opaque ids; absent ones are zero.
type Attribution struct {
	Actor   domain.PrincipalID
	Key     domain.KeyID
	Request uuid.UUID
	// Cause is the append whose events led to this one.
	Cause uuid.UUID
}

// Recorded is an event in the log.
type Recorded struct {
	Position int64
	Epoch    int64
	Stream   Stream
	Version  int64
	Name     string
	Revision int
	// Company owns the event; the zero one is "no company" and has a chain of positions of its own.
	Company         domain.CompanyID
	CompanyPosition int64
	// RecordedAt is the database's time, non-decreasing in Position, in microseconds.
	RecordedAt  time.Time
	AppendID    uuid.UUID
	AppendIndex int
	By          Attribution
	// Payload is the event's JSON as stored; nil once erased.
	Payload []byte
	// Salt and Payload make the Commitment; see [Hash].
	Salt       []byte
	Commitment []byte
	PrevHash   []byte
	Hash       []byte
}

// Meta is what the domain may know of the record.
func (r Recorded) Meta() domain.Meta {
	return domain.Meta{Position: r.Position, Version: r.Version, Epoch: r.Epoch, At: r.RecordedAt}
}

// Head is the end of the log.
type Head struct {
	Position   int64
	Epoch      int64
	RecordedAt time.Time
}

// Appender puts events on the log.
type Appender interface {
	// Submit hands an append over and returns at once. Appends that one goroutine submits in one lane are judged in
	// that order. The append goes on even if nobody waits for it.
	Submit(a Append) Pending
}

// Pending is an append under way.
type Pending interface {
	// Wait returns the outcome, or an error once ctx is done: then the outcome is not known ([ErrUnknownOutcome]) and the
	// append may still happen.
	Wait(ctx context.Context) (Result, error)
}

// Reader reads the log. A limit of 0 is the store's own page size.
type Reader interface {
	// ReadStream returns events of a stream with a version above after, in order.
	ReadStream(ctx context.Context, stream Stream, after int64, limit int) ([]Recorded, error)
	// ReadAll returns events with a position above after, in order.
	ReadAll(ctx context.Context, after int64, limit int) ([]Recorded, error)
	// Head returns the end of the log.
	Head(ctx context.Context) (Head, error)
}

// Inputs reads what lies beside the log.
type Inputs interface {
	// ReadInput returns the value and what it was kept for, or ErrNoInput once it was dropped.
	ReadInput(ctx context.Context, id uuid.UUID) (Input, error)
}

// Commands finds accepted commands.
type Commands interface {
	// FindCommand returns what an accepted command with c's identity made, or ErrNoCommand. The request must be the same,
	// else ErrCommandReused.
	FindCommand(ctx context.Context, c Command) (AcceptedCommand, error)
}

// AcceptedCommand is what an accepted command made.
type AcceptedCommand struct {
	Resource uuid.UUID
	Position int64
}

// Store is a whole event store.
type Store interface {
	Appender
	Reader
	Inputs
	Commands
	// Changed returns a channel that is closed when there may be more to read than there was at the call.
	Changed() <-chan struct{}
	// Clock is the store's time.
	Clock() *Clock
	// Epoch is the log's incarnation, as far as this process knows.
	Epoch() int64
}

// PageSize is how many events a reader gets when it does not say.
const PageSize = 1000
