// Package install is the life of a wish to install a plugin.
//
//	         request                 complete
//	(none) ───────────► requested ──────────────► done
//	                                    fail ───► failed
//
// A plugin's files are looked at and copied by the engine that has them, after the wish is in the log; what comes of it is
// in the plugin's own stream. Looking and copying again is harmless, so nobody claims it.
package install

import (
	"strings"
	"time"

	"github.com/tenure-dev/tenure/domain"
)

// Category is the first part of the name of the stream of a wish.
const Category = "install"

// Event is a fact about a wish to install.
//
//sumtype:decl
type Event interface {
	domain.Event
	installEvent()
}

// Requested says: somebody wants the plugin that lies there.
type Requested struct {
	// Source is a directory on the machine of Node.
	Source string        `json:"source"`
	Node   domain.NodeID `json:"nodeId"`
}

// Completed says: it is installed.
type Completed struct {
	Plugin  domain.PluginID `json:"pluginId"`
	Version string          `json:"version"`
}

// Failed says: it is not, and why.
type Failed struct {
	Code        string `json:"code"`
	Message     string `json:"message"`
	Remediation string `json:"remediation,omitempty"`
}

func (Requested) EventName() string { return "PluginInstallRequested" }
func (Completed) EventName() string { return "PluginInstallCompleted" }
func (Failed) EventName() string    { return "PluginInstallFailed" }

func (Requested) installEvent() {}
func (Completed) installEvent() {}
func (Failed) installEvent()    {}

// Codec is the catalog of this part.
var Codec = domain.NewCodec(
	domain.Spec[Requested, Event](),
	domain.Spec[Completed, Event](),
	domain.Spec[Failed, Event](),
)

// Command is what may be asked of a wish.
type Command interface{ installCommand() }

// Request starts it.
type Request struct{ Requested Requested }

// Complete is its good end, Fail its bad one. A wish that has ended stays as it is.
type Complete struct{ Completed Completed }

// Fail is the bad end.
type Fail struct{ Failed Failed }

func (Request) installCommand()  {}
func (Complete) installCommand() {}
func (Fail) installCommand()     {}

// Status is where a wish stands.
type Status string

// The statuses of a wish.
const (
	StatusNone      Status = ""
	StatusRequested Status = "requested"
	StatusDone      Status = "done"
	StatusFailed    Status = "failed"
)

func (s Status) String() string { return string(s) }

// State is what the events of a wish add up to.
type State struct {
	Status      Status
	Request     Requested
	Done        Completed
	Failure     Failed
	RequestedAt time.Time
}

// Decider is the wish's decider.
var Decider = domain.Decider[State, Command, Event]{
	Initial: func() State { return State{} },
	Decide:  Decide,
	Evolve:  Evolve,
}

// Decide answers a command.
func Decide(s State, cmd Command) ([]Event, error) {
	if c, ok := cmd.(Request); ok {
		return request(s, c)
	}
	if s.Status == StatusNone {
		return nil, domain.NotFound("plugin_install")
	}
	if s.Status != StatusRequested {
		return nil, nil
	}
	switch c := cmd.(type) {
	case Complete:
		return []Event{c.Completed}, nil
	case Fail:
		return []Event{c.Failed}, nil
	}
	return nil, domain.Refuse(domain.KindInvalid, "unknown_command", "the installation does not know this command")
}

func request(s State, c Request) ([]Event, error) {
	if s.Status != StatusNone {
		return nil, domain.Refuse(domain.KindConflict, "plugin_install_exists", "an installation with this id exists already")
	}
	if !strings.HasPrefix(c.Requested.Source, "/") {
		return nil, domain.Refuse(domain.KindInvalid, "invalid_path", "is not an absolute path").On("source").
			Mend("name the plugin's directory on the server's machine by its absolute path")
	}
	if err := domain.CheckArgument("source", c.Requested.Source); err != nil {
		return nil, err
	}
	return []Event{c.Requested}, nil
}

// Evolve is the state after e.
func Evolve(s State, e Event, m domain.Meta) State {
	switch e := e.(type) {
	case Requested:
		s.Status, s.Request, s.RequestedAt = StatusRequested, e, m.At
	case Completed:
		s.Status, s.Done = StatusDone, e
	case Failed:
		s.Status, s.Failure = StatusFailed, e
	}
	return s
}
