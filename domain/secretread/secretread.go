// Package secretread is the record of who read which version of a secret, when, and for what.
//
// Each secret has a stream of these notes beside its own stream. Whoever reads a secret holds its own stream to what was
// seen (so that no value is given out of a version that was disabled meanwhile) and notes the read here, whatever others
// note at the same moment. So a thousand readers at once do not get into each other's way, and the secret's own stream
// stays as short as its history.
package secretread

import (
	"time"

	"github.com/tenure-dev/tenure/domain"
)

// Category is the first part of the name of a secret's stream of reads.
const Category = "secretread"

// Purpose is what a value is read for.
type Purpose string

// The purposes.
const (
	PurposeAcquire Purpose = "acquire"
	PurposeRelease Purpose = "release"
	PurposeExec    Purpose = "exec"
	PurposeProbe   Purpose = "probe"
	PurposeList    Purpose = "list"
)

func (p Purpose) String() string { return string(p) }

// Event is a fact about the use of a secret.
//
//sumtype:decl
type Event interface {
	domain.Event
	secretReadEvent()
}

// Read says: a value was taken out of the vault, for this.
type Read struct {
	// Version is the one that was read, also where the newest was asked for.
	Version     int                  `json:"version"`
	Purpose     Purpose              `json:"purpose"`
	Lease       domain.LeaseID       `json:"leaseId,omitzero"`
	Exec        domain.ExecID        `json:"execId,omitzero"`
	Environment domain.EnvironmentID `json:"environmentId,omitzero"`
	// Worker is the process that read it.
	Worker domain.WorkerID `json:"workerId,omitzero"`
}

// EventName is the name in the log.
func (Read) EventName() string { return "SecretRead" }

func (Read) secretReadEvent() {}

// Codec is the catalog of this part.
var Codec = domain.NewCodec(domain.Spec[Read, Event]())

// Command is what may be asked of the record: nothing.
type Command interface{ secretReadCommand() }

// State is what the events add up to.
type State struct {
	Count int64
	Last  Read
	At    time.Time
}

// Decider is the record's decider, which only folds.
var Decider = domain.Decider[State, Command, Event]{
	Initial: func() State { return State{} },
	Decide: func(State, Command) ([]Event, error) {
		return nil, domain.Refuse(domain.KindInvalid, "unknown_command", "reads are only recorded")
	},
	Evolve: Evolve,
}

// Evolve is the state after e.
func Evolve(s State, e Event, m domain.Meta) State {
	switch e := e.(type) {
	case Read:
		s.Count, s.Last, s.At = s.Count+1, e, m.At
	}
	return s
}
