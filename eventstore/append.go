package eventstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
)

// Limits of an append.
const (
	MaxEventBytes   = 256 << 10
	MaxAppendEvents = 256
	MaxAppendBytes  = 1 << 20
	// MaxInputBytes bounds all inputs of one append.
	MaxInputBytes = 8 << 20
)

// Expect is what an append expects of a stream's version.
type Expect int64

// NoStream expects a stream without events; Any expects nothing.
const (
	NoStream Expect = 0
	Any      Expect = -1
)

// Exactly expects the stream to have version v.
func Exactly(v int64) Expect { return Expect(v) }

// Holds reports whether a stream of that version is as expected.
func (e Expect) Holds(version int64) bool { return e == Any || int64(e) == version }

// Expectation is what an append expects of one stream.
type Expectation struct {
	Stream Stream
	Expect Expect
	// By is the append that is expected to have brought the stream to its version; zero for whichever. A version alone
	// does not say what happened: an append that was decided on the outcome of another one names it here.
	By uuid.UUID
}

// NewEvent is an event to append.
type NewEvent struct {
	Stream   Stream
	Name     string
	Revision int
	Company  domain.CompanyID
	// Payload is JSON.
	Payload []byte
}

// Lane orders appends that wait at the same time.
type Lane int

// The lanes.
const (
	// LaneControl goes first: acquire, renew, release, claims, outcomes.
	LaneControl Lane = iota
	// LaneExpiry is for what nobody waits for and may come in great numbers: the ends of leases whose time is over.
	LaneExpiry
	// LaneBulk waits while there is anything else: imports, administration.
	LaneBulk
	// Lanes is how many there are.
	Lanes = iota
)

// Command is the identity of a client's command, so that a repeated one has one outcome.
type Command struct {
	Company domain.CompanyID
	Route   string
	// Key is the client's Idempotency-Key.
	Key string
	// RequestHash tells whether the repeated command asks for the same thing.
	RequestHash [32]byte
	// Resource is what the command made or acts on.
	Resource uuid.UUID
}

// Input is a value that is needed later but must never be in the log: values of variables, standard input.
type Input struct {
	ID      uuid.UUID
	Company domain.CompanyID
	// Subject is the stream of the thing that needs it.
	Subject Stream
	Value   []byte
}

// Append is a set of events that happens as a whole or not at all.
type Append struct {
	// ID makes a repeated append happen once.
	ID   uuid.UUID
	Lane Lane
	// Expect names every stream that Events writes, and may name others.
	Expect []Expectation
	Events []NewEvent
	By     Attribution
	// Command is stored with the events; nil for none.
	Command *Command
	// NotAfter refuses the append when the database's clock is past it; zero is no limit.
	NotAfter time.Time
	// Owner refuses the append with ErrNotOwner once the partition has another owner; nil for an append of no owner.
	Owner *Ownership
	// Inputs are kept beside the log, DropInputs are removed, both with the events.
	Inputs     []Input
	DropInputs []uuid.UUID
	// Epoch is that of the log which the append was decided on; 0 for the one that the store knows of when it is submitted.
	Epoch int64
	// Drives says that the append announces work outside. It is refused with [ErrForked] while the log waits for its adoption.
	Drives bool
}

// Result is the outcome of an append that happened.
type Result struct {
	// First and Last are the positions of its events.
	First, Last int64
	Epoch       int64
	RecordedAt  time.Time
	// Replayed says that the append had happened before and this call changed nothing.
	Replayed bool
	// CommandReplayed says that a command with this identity had been accepted before: nothing was appended, Resource is
	// what that command made, and First and Last are its position.
	CommandReplayed bool
	Resource        uuid.UUID
}

// Validate finds all that the store would refuse.
func (a Append) Validate() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if a.ID == uuid.Nil {
		bad("id: is missing")
	}
	if len(a.Events) == 0 || len(a.Events) > MaxAppendEvents {
		bad("events: %d of them; an append has 1 to %d", len(a.Events), MaxAppendEvents)
	}
	named := make(map[Stream]bool, len(a.Expect))
	for _, x := range a.Expect {
		if named[x.Stream] {
			bad("expect: stream %s is named twice", x.Stream)
		}
		if x.Expect < Any {
			bad("expect: version %d of stream %s", x.Expect, x.Stream)
		}
		if x.Stream == "" || len(x.Stream) > 200 || !utf8.ValidString(string(x.Stream)) {
			bad("expect: stream %q is no name of a stream", x.Stream)
		}
		named[x.Stream] = true
	}
	if o := a.Owner; o != nil && (o.Partition < 0 || o.Partition >= PartitionCount) {
		bad("owner: there is no partition %d", o.Partition)
	}
	total := 0
	for i, e := range a.Events {
		total += len(e.Payload)
		switch {
		case !named[e.Stream]:
			bad("events[%d]: expect says nothing of stream %s", i, e.Stream)
		case e.Name == "" || len(e.Name) > 100 || e.Revision < 1:
			bad("events[%d]: name %q revision %d", i, e.Name, e.Revision)
		case len(e.Payload) > MaxEventBytes:
			bad("events[%d]: %s has %d bytes; the limit is %d", i, e.Name, len(e.Payload), MaxEventBytes)
		case !json.Valid(e.Payload):
			bad("events[%d]: %s is not JSON", i, e.Name)
		}
	}
	if total > MaxAppendBytes {
		bad("events: %d bytes together; the limit is %d", total, MaxAppendBytes)
	}
	inputs := 0
	for _, in := range a.Inputs {
		inputs += len(in.Value)
	}
	if inputs > MaxInputBytes {
		bad("inputs: %d bytes together; the limit is %d", inputs, MaxInputBytes)
	}
	if len(problems) == 0 {
		return nil
	}
	return &InvalidError{Err: errors.Join(problems...)}
}
