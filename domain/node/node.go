// Package node is what people say of the machines that runtimes are bound to.
//
//	(none) ──forgotten──► forgotten ──returned──► in use ──forgotten──► …
//
// Whether a node lives, its processes' liveness rows say; the log has only what no row can know. That it is forgotten is a
// person's decision: nobody waits for it any more, and what is on it counts as destroyed ([runtime.ProofForgotten]). Each of
// these decisions is an append that is held to the node's stream, so none comes after the node's return: its process says
// that it is back before it drives anything.
package node

import (
	"time"

	"github.com/tenure-dev/tenure/domain"
)

// Category is the first part of the name of a node's stream.
const Category = "node"

// Event is a fact about a node.
//
//sumtype:decl
type Event interface {
	domain.Event
	nodeEvent()
}

// Forgotten says: a person gives the node up, and all that is on it. Who, the event's actor says.
type Forgotten struct {
	Reason string `json:"reason"`
	// Hostname is what the node's last process said of it; absent if nothing is known.
	Hostname string `json:"hostname,omitempty"`
}

// Returned says: a process of the node lives again. What was forgotten stays destroyed, and what is left of it goes.
type Returned struct {
	Worker domain.WorkerID `json:"workerId"`
}

// EventName is the name in the log.
func (Forgotten) EventName() string { return "NodeForgotten" }

// EventName is the name in the log.
func (Returned) EventName() string { return "NodeReturned" }

func (Forgotten) nodeEvent() {}
func (Returned) nodeEvent()  {}

// Codec is the catalog of this part.
var Codec = domain.NewCodec(domain.Spec[Forgotten, Event](), domain.Spec[Returned, Event]())

// Command is what may be said of a node.
type Command interface{ nodeCommand() }

// Forget gives the node up. Doing so again changes nothing.
type Forget struct{ Forgotten Forgotten }

// Return says that a process of the node lives. Of a node that is not forgotten it changes nothing.
type Return struct{ Worker domain.WorkerID }

func (Forget) nodeCommand() {}
func (Return) nodeCommand() {}

// State is what the events add up to. Read models keep it as JSON.
type State struct {
	Forgotten bool `json:",omitempty"`
	// Reason, Hostname and ForgottenAt are those of the last time; zero if there was none.
	Reason      string    `json:",omitempty"`
	Hostname    string    `json:",omitempty"`
	ForgottenAt time.Time `json:",omitzero"`
	ReturnedAt  time.Time `json:",omitzero"`
}

// Decider is the node's decider.
var Decider = domain.Decider[State, Command, Event]{
	Initial: func() State { return State{} },
	Decide:  Decide,
	Evolve:  Evolve,
}

// Decide answers a command.
func Decide(s State, cmd Command) ([]Event, error) {
	switch c := cmd.(type) {
	case Forget:
		return forget(s, c)
	case Return:
		if !s.Forgotten {
			return nil, nil
		}
		return []Event{Returned(c)}, nil
	}
	return nil, domain.Refuse(domain.KindInvalid, "unknown_command", "the node does not know this command")
}

func forget(s State, c Forget) ([]Event, error) {
	if c.Forgotten.Reason == "" {
		return nil, domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("reason").
			Mend("say why the node is given up; it goes into the history")
	}
	if err := domain.CheckText("reason", c.Forgotten.Reason, domain.MaxMessage); err != nil {
		return nil, err
	}
	if s.Forgotten {
		return nil, nil
	}
	e := c.Forgotten
	e.Hostname = domain.Clean(e.Hostname, domain.MaxReference)
	return []Event{e}, nil
}

// Evolve is the state after e.
func Evolve(s State, e Event, m domain.Meta) State {
	switch e := e.(type) {
	case Forgotten:
		s.Forgotten, s.Reason, s.Hostname, s.ForgottenAt = true, e.Reason, e.Hostname, m.At
	case Returned:
		s.Forgotten, s.ReturnedAt = false, m.At
	}
	return s
}
