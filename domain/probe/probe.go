// Package probe is the life of a question whether an environment would work.
//
//	         request               claim               complete
//	(none) ───────────► requested ───────► claimed ──────────────► completed
//	                                          │ ▲
//	                                          └─┘ claim, once its worker is gone or its time is over
//
// A probe makes nothing that stays, so it may be asked again; the first answer counts.
package probe

import (
	"encoding/json"
	"time"

	"github.com/tenure-dev/tenure/domain"
)

// Category is the first part of the name of a probe's stream.
const Category = "probe"

// Event is a fact in the life of a probe.
//
//sumtype:decl
type Event interface {
	domain.Event
	probeEvent()
}

// Requested says: somebody wants to know.
type Requested struct {
	Company domain.CompanyID `json:"companyId"`
	// Environment is the saved one; zero for settings that are not saved.
	Environment domain.EnvironmentID `json:"environmentId"`
	Driver      string               `json:"driver"`
	Provider    string               `json:"provider"`
	// Config has references where it has secrets. Those that were given in the clear are kept beside the log until the
	// probe has ended, and are not in it: Kept says where they belong, as JSON pointers.
	Config json.RawMessage `json:"config"`
	Kept   []string        `json:"kept,omitempty"`
}

// Claimed says: a worker is about to ask the driver.
type Claimed struct {
	Worker   domain.WorkerID `json:"workerId"`
	Deadline time.Time       `json:"deadline"`
}

// Completed says: this is the answer.
type Completed struct {
	OK bool `json:"ok"`
	// Phase is where it failed; "" when it did not.
	Phase       string       `json:"phase,omitempty"`
	Summary     string       `json:"summary"`
	Diagnostics []Diagnostic `json:"diagnostics,omitempty"`
	// DriverMs is how long the driver took.
	DriverMs int64 `json:"driverMs"`
}

// Diagnostic is one finding.
type Diagnostic struct {
	Severity    string `json:"severity"`
	Code        string `json:"code,omitempty"`
	Message     string `json:"message"`
	Remediation string `json:"remediation,omitempty"`
}

func (Requested) EventName() string { return "ProbeRequested" }
func (Claimed) EventName() string   { return "ProbeClaimed" }
func (Completed) EventName() string { return "ProbeCompleted" }

func (Requested) probeEvent() {}
func (Claimed) probeEvent()   {}
func (Completed) probeEvent() {}

// Codec is the catalog of this part.
var Codec = domain.NewCodec(
	domain.Spec[Requested, Event](),
	domain.Spec[Claimed, Event](),
	domain.Spec[Completed, Event](),
)

// Command is what may be asked of a probe.
type Command interface{ probeCommand() }

// Request starts it.
type Request struct{ Requested Requested }

// Claim takes it for a worker. Now is when; WorkerDead says that the worker which holds it is known to be gone.
type Claim struct {
	Worker     domain.WorkerID
	Now        time.Time
	Deadline   time.Time
	WorkerDead bool
}

// Complete answers it. A second answer changes nothing.
type Complete struct{ Completed Completed }

func (Request) probeCommand()  {}
func (Claim) probeCommand()    {}
func (Complete) probeCommand() {}

// Status is where a probe stands.
type Status string

// The statuses of a probe.
const (
	StatusNone      Status = ""
	StatusRequested Status = "requested"
	StatusClaimed   Status = "claimed"
	StatusCompleted Status = "completed"
)

func (s Status) String() string { return string(s) }

// State is what the events of a probe add up to.
type State struct {
	Status      Status
	Request     Requested
	Worker      domain.WorkerID
	Deadline    time.Time
	Result      Completed
	RequestedAt time.Time
	CompletedAt time.Time
}

// Decider is the probe's decider.
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
		return nil, domain.NotFound("probe")
	}
	switch c := cmd.(type) {
	case Claim:
		return claim(s, c)
	case Complete:
		if s.Status == StatusCompleted {
			return nil, nil
		}
		return []Event{clip(c.Completed)}, nil
	}
	return nil, domain.Refuse(domain.KindInvalid, "unknown_command", "the probe does not know this command")
}

func request(s State, c Request) ([]Event, error) {
	if s.Status != StatusNone {
		return nil, domain.Refuse(domain.KindConflict, "probe_exists", "a probe with this id exists already")
	}
	if c.Requested.Company.IsZero() {
		return nil, domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("companyId").Mend("name the company that asks")
	}
	if c.Requested.Driver == "" {
		return nil, domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("driver").
			Mend("name the driver that is to be tried, such as local")
	}
	if err := domain.CheckLine("driver", c.Requested.Driver, domain.MaxName); err != nil {
		return nil, err
	}
	e := c.Requested
	if len(e.Config) == 0 {
		e.Config = json.RawMessage(`{}`)
	}
	if err := domain.CheckObject("config", e.Config); err != nil {
		return nil, err
	}
	return []Event{e}, nil
}

func claim(s State, c Claim) ([]Event, error) {
	switch s.Status {
	case StatusRequested:
	case StatusClaimed:
		if !c.WorkerDead && c.Now.Before(s.Deadline) {
			return nil, domain.Refuse(domain.KindStale, "stale_claim", "the probe is at another worker until %s", s.Deadline.Format(time.RFC3339))
		}
	case StatusNone, StatusCompleted:
		return nil, domain.Refuse(domain.KindStale, "stale_claim", "the probe is %s", s.Status)
	}
	return []Event{Claimed{Worker: c.Worker, Deadline: c.Deadline}}, nil
}

// maxDiagnostics bounds what is kept of an answer; a driver's words may be of any number and length.
const maxDiagnostics = 100

func clip(e Completed) Completed {
	e.Phase, e.Summary = domain.Clean(e.Phase, domain.MaxName), domain.Clean(e.Summary, domain.MaxMessage)
	kept := e.Diagnostics[:min(len(e.Diagnostics), maxDiagnostics)]
	e.Diagnostics = make([]Diagnostic, len(kept))
	for i, d := range kept {
		e.Diagnostics[i] = Diagnostic{
			Severity: domain.Clean(d.Severity, domain.MaxName), Code: domain.Clean(d.Code, domain.MaxName),
			Message: domain.Clean(d.Message, domain.MaxMessage), Remediation: domain.Clean(d.Remediation, domain.MaxMessage),
		}
	}
	return e
}

// Evolve is the state after e.
func Evolve(s State, e Event, m domain.Meta) State {
	switch e := e.(type) {
	case Requested:
		s.Status, s.Request, s.RequestedAt = StatusRequested, e, m.At
	case Claimed:
		s.Status, s.Worker, s.Deadline = StatusClaimed, e.Worker, e.Deadline
	case Completed:
		s.Status, s.Result, s.CompletedAt = StatusCompleted, e, m.At
	}
	return s
}
