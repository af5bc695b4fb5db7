// Package company is the life of who owns environments, leases and keys.
//
//	        add
//	(none) ─────► there
//
// A company's id is in the envelope of every event that is about something of its own; its name is in its own events only.
package company

import (
	"time"

	"github.com/tenure-dev/tenure/domain"
)

// Category is the first part of the name of a company's stream.
const Category = "company"

// Event is a fact in the life of a company.
//
//sumtype:decl
type Event interface {
	domain.Event
	companyEvent()
}

// Added says: the company is there.
type Added struct {
	Name string `json:"name"`
}

func (Added) EventName() string { return "CompanyAdded" }

func (Added) companyEvent() {}

// Codec is the catalog of this part.
var Codec = domain.NewCodec(domain.Spec[Added, Event]())

// Command is what may be asked of a company.
type Command interface{ companyCommand() }

// Add starts a company.
type Add struct{ Name string }

func (Add) companyCommand() {}

// State is what the events of a company add up to.
type State struct {
	// Known says that the company is there.
	Known   bool
	Name    string
	AddedAt time.Time
}

// Decider is the company's decider.
var Decider = domain.Decider[State, Command, Event]{
	Initial: func() State { return State{} },
	Decide:  Decide,
	Evolve:  Evolve,
}

// Decide answers a command.
func Decide(s State, cmd Command) ([]Event, error) {
	switch c := cmd.(type) {
	case Add:
		return add(s, c)
	}
	return nil, domain.Refuse(domain.KindInvalid, "unknown_command", "the company does not know this command")
}

func add(s State, c Add) ([]Event, error) {
	if s.Known {
		return nil, domain.Refuse(domain.KindConflict, "company_exists", "a company with this id exists already")
	}
	if err := domain.CheckName("name", c.Name); err != nil {
		return nil, err
	}
	return []Event{Added(c)}, nil
}

// Evolve is the state after e.
func Evolve(s State, e Event, m domain.Meta) State {
	switch e := e.(type) {
	case Added:
		s.Known, s.Name, s.AddedAt = true, e.Name, m.At
	}
	return s
}
