// Package company is the life of who owns environments, leases and keys.
//
//	               set default environment
//	                    ┌────────┐
//	        add         ▼        │
//	(none) ─────► there ─────────┘
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

// DefaultEnvironmentSet says: runs that name no environment, and for which nothing closer names one, work in this one now.
type DefaultEnvironmentSet struct {
	// Environment is the default; the zero one says that there is none.
	Environment domain.EnvironmentID `json:"environmentId"`
}

func (Added) EventName() string                 { return "CompanyAdded" }
func (DefaultEnvironmentSet) EventName() string { return "CompanyDefaultEnvironmentSet" }

func (Added) companyEvent()                 {}
func (DefaultEnvironmentSet) companyEvent() {}

// Codec is the catalog of this part.
var Codec = domain.NewCodec(
	domain.Spec[Added, Event](),
	domain.Spec[DefaultEnvironmentSet, Event](),
)

// Command is what may be asked of a company.
type Command interface{ companyCommand() }

// Add starts a company.
type Add struct{ Name string }

// SetDefaultEnvironment sets where runs work that name no environment; the zero id is nowhere. Who asks has seen that it is
// an active one of the company's own. The one that is set already changes nothing.
type SetDefaultEnvironment struct{ Environment domain.EnvironmentID }

func (Add) companyCommand()                   {}
func (SetDefaultEnvironment) companyCommand() {}

// State is what the events of a company add up to.
type State struct {
	// Known says that the company is there.
	Known   bool
	Name    string
	AddedAt time.Time
	// DefaultEnvironment is where runs work that name none; the zero one is nowhere. It may be archived by now.
	DefaultEnvironment domain.EnvironmentID
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
	case SetDefaultEnvironment:
		return setDefault(s, c)
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

func setDefault(s State, c SetDefaultEnvironment) ([]Event, error) {
	switch {
	case !s.Known:
		return nil, domain.NotFound("company")
	case s.DefaultEnvironment == c.Environment:
		return nil, nil
	}
	return []Event{DefaultEnvironmentSet(c)}, nil
}

// Evolve is the state after e.
func Evolve(s State, e Event, m domain.Meta) State {
	switch e := e.(type) {
	case Added:
		s.Known, s.Name, s.AddedAt = true, e.Name, m.At
	case DefaultEnvironmentSet:
		s.DefaultEnvironment = e.Environment
	}
	return s
}
