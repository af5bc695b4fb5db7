// Package readmodel is what operators decided about a read model. What a read model shows follows from the log and is no
// event; that somebody made one leave a fact out is, because nobody could tell it from the log otherwise.
//
//	event that cannot be folded ──► parked (no fact: the fold finds it again) ──► skipped by an operator (a fact)
package readmodel

import "github.com/tenure-dev/tenure/domain"

// Category is the first part of the name of a read model's stream.
const Category = "readmodel"

// Event is a fact about a read model.
type Event interface {
	domain.Event
	readModelEvent()
}

// Skipped says that an event was left out of a read model for good.
type Skipped struct {
	// Name is the read model's, Stream and Position say which event.
	Name     string `json:"name"`
	Stream   string `json:"stream"`
	Position int64  `json:"position"`
	// Reason is why it could not be folded.
	Reason string `json:"reason"`
}

// EventName is the name in the log.
func (Skipped) EventName() string { return "ReadModelEventSkipped" }

func (Skipped) readModelEvent() {}

// Codec is the catalog of this part.
var Codec = domain.NewCodec(domain.Spec[Skipped, Event]())

// Command is what may be recorded of a read model.
type Command interface{ readModelCommand() }

// Skip records that an event was left out.
type Skip struct{ Skipped Skipped }

func (Skip) readModelCommand() {}

// State is what the events of a read model add up to.
type State struct {
	// Skips is how many events were left out, LastSkip the last one.
	Skips    int
	LastSkip Skipped
}

// Decider is the read model's decider.
var Decider = domain.Decider[State, Command, Event]{
	Initial: func() State { return State{} },
	Decide:  Decide,
	Evolve:  Evolve,
}

// Decide answers a command. The same skip twice in a row is one.
func Decide(s State, cmd Command) ([]Event, error) {
	c, ok := cmd.(Skip)
	if !ok {
		return nil, domain.Refuse(domain.KindInvalid, "unknown_command", "the read model does not know this command")
	}
	skipped := c.Skipped
	skipped.Reason = domain.Clean(skipped.Reason, domain.MaxMessage)
	switch {
	case skipped.Name == "" || skipped.Stream == "" || skipped.Position < 1:
		return nil, domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("stream").Mend("name the read model and the event that it left out")
	case s.Skips > 0 && s.LastSkip == skipped:
		return nil, nil
	}
	return []Event{skipped}, nil
}

// Evolve is the state after e.
func Evolve(s State, e Event, _ domain.Meta) State {
	switch e := e.(type) {
	case Skipped:
		s.Skips, s.LastSkip = s.Skips+1, e
	}
	return s
}
