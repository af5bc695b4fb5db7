// Package runtime is the life of a thing provisioned: it has an id and a stream of its own, so that two holders are a
// version conflict in the log.
//
//	                     ┌───── held, by the next lease ─────┐
//	                     ▼                                   │
//	intended ──made──► held ──freed──────────────────────► free ──destroy intended──► destroying ──► destroyed
//	    │                │ └──lost──► lost ──destroy intended──────────────────────────► ▲
//	    └────────────────┴──────────── destroy intended ─────────────────────────────────┘
//
// Intended is written before the driver is called: from then on something may exist outside under this id, and it counts
// as existing until Destroyed says otherwise.
package runtime

import "github.com/tenure-dev/tenure/domain"

// Category is the first part of the name of a runtime's stream.
const Category = "runtime"

// Event is a fact in the life of a runtime.
//
//sumtype:decl
type Event interface {
	domain.Event
	runtimeEvent()
}

// Intended says: a driver is about to be asked for this runtime.
type Intended struct {
	Company     domain.CompanyID     `json:"companyId"`
	Environment domain.EnvironmentID `json:"environmentId"`
	Lease       domain.LeaseID       `json:"leaseId"`
	Driver      string               `json:"driver"`
	Provider    string               `json:"provider"`
	// Node is where a node-bound runtime lives; zero for one that any node can drive.
	Node domain.NodeID `json:"nodeId"`
}

// Made says: it exists.
type Made struct {
	ProviderLeaseID *string `json:"providerLeaseId"`
}

// Held says: a lease holds it.
type Held struct {
	Lease domain.LeaseID `json:"leaseId"`
}

// Freed says: nobody holds it.
type Freed struct {
	Lease domain.LeaseID `json:"leaseId"`
}

// Lost says: what answers to its name is something else, and where it is itself, nobody knows. It counts as existing.
type Lost struct {
	Reason string `json:"reason"`
}

// DestroyIntended says: a driver is about to be asked to destroy it.
type DestroyIntended struct {
	Reason string `json:"reason"`
}

// Destroyed says: it definitely does not exist any more, or never did.
type Destroyed struct {
	Proof Proof `json:"proof"`
}

// Disowned says: it belongs to another installation, and this one does nothing about it. The log is a copy.
type Disowned struct{}

// Proof is why a runtime is known to be gone.
type Proof string

// The proofs.
const (
	// ProofReleased: the driver said that it took it down.
	ProofReleased Proof = "released"
	// ProofNeverMade: the driver said that it made nothing.
	ProofNeverMade Proof = "never_made"
	// ProofAbsent: the driver looked for it and said that it does not exist any more, or a complete list of the provider, taken
	// when nobody was at it, does not have it.
	ProofAbsent Proof = "absent"
	// ProofPerson: a person says so.
	ProofPerson Proof = "person"
	// ProofForgotten: a person gave up the node that it was on. Nobody saw that it is gone.
	ProofForgotten Proof = "node_forgotten"
)

func (Intended) EventName() string        { return "RuntimeIntended" }
func (Made) EventName() string            { return "RuntimeMade" }
func (Held) EventName() string            { return "RuntimeHeld" }
func (Freed) EventName() string           { return "RuntimeFreed" }
func (Lost) EventName() string            { return "RuntimeLost" }
func (DestroyIntended) EventName() string { return "RuntimeDestroyIntended" }
func (Destroyed) EventName() string       { return "RuntimeDestroyed" }
func (Disowned) EventName() string        { return "RuntimeDisowned" }

func (Intended) runtimeEvent()        {}
func (Made) runtimeEvent()            {}
func (Held) runtimeEvent()            {}
func (Freed) runtimeEvent()           {}
func (Lost) runtimeEvent()            {}
func (DestroyIntended) runtimeEvent() {}
func (Destroyed) runtimeEvent()       {}
func (Disowned) runtimeEvent()        {}

// Codec is the catalog of this part.
var Codec = domain.NewCodec(
	domain.Spec[Intended, Event](),
	domain.Spec[Made, Event](),
	domain.Spec[Held, Event](),
	domain.Spec[Freed, Event](),
	domain.Spec[Lost, Event](),
	domain.Spec[DestroyIntended, Event](),
	domain.Spec[Destroyed, Event](),
	domain.Spec[Disowned, Event](),
)

// Command is what may be asked of a runtime.
type Command interface{ runtimeCommand() }

// Intend announces that a driver will be asked for it. Intending again for the same lease changes nothing.
type Intend struct{ Intended Intended }

// Hold says that it was made and gives it to a lease.
type Hold struct {
	Lease           domain.LeaseID
	ProviderLeaseID *string
}

// Free takes it from its holder, for whom it is kept no longer but for the next one. Doing so again changes nothing.
type Free struct{ Lease domain.LeaseID }

// Take gives a free runtime to the next lease. Giving it again to its holder changes nothing.
type Take struct{ Lease domain.LeaseID }

// Lose says that what answers to its name is another runtime.
type Lose struct{ Reason string }

// Destroy takes it from its holder and announces its destruction, for the lease that holds it or held it last. Doing so again
// changes nothing.
type Destroy struct {
	Lease  domain.LeaseID
	Reason string
}

// ConfirmDestroyed says that it is gone.
type ConfirmDestroyed struct{ Proof Proof }

// Disown gives it up to another installation, whatever became of it.
type Disown struct{}

func (Intend) runtimeCommand()           {}
func (Hold) runtimeCommand()             {}
func (Free) runtimeCommand()             {}
func (Take) runtimeCommand()             {}
func (Lose) runtimeCommand()             {}
func (Destroy) runtimeCommand()          {}
func (ConfirmDestroyed) runtimeCommand() {}
func (Disown) runtimeCommand()           {}

// Status is where a runtime stands.
type Status string

// The statuses of a runtime.
const (
	StatusNone       Status = ""
	StatusIntended   Status = "intended"
	StatusHeld       Status = "held"
	StatusFree       Status = "free"
	StatusLost       Status = "lost"
	StatusDestroying Status = "destroying"
	StatusDestroyed  Status = "destroyed"
	StatusDisowned   Status = "disowned"
)

func (s Status) String() string { return string(s) }

// State is what the events of a runtime add up to.
type State struct {
	Status Status
	// Origin is what it was intended for.
	Origin          Intended
	ProviderLeaseID *string
	// Holder is the lease that holds it; zero for none. Last is the one that held it last, or that it was intended for.
	Holder, Last domain.LeaseID
	// Proof is why it is known to be gone; "" before.
	Proof Proof `json:",omitempty"`
}

// Decider is the runtime's decider.
var Decider = domain.Decider[State, Command, Event]{
	Initial: func() State { return State{} },
	Decide:  Decide,
	Evolve:  Evolve,
}

// Decide answers a command.
func Decide(s State, cmd Command) ([]Event, error) {
	switch c := cmd.(type) {
	case Intend:
		return intend(s, c)
	case Hold:
		return hold(s, c)
	case Free:
		return free(s, c)
	case Take:
		return take(s, c)
	case Lose:
		return lose(s, c)
	case Destroy:
		return destroy(s, c)
	case ConfirmDestroyed:
		return confirmDestroyed(s, c)
	case Disown:
		return disown(s)
	}
	return nil, domain.Refuse(domain.KindInvalid, "unknown_command", "the runtime does not know this command")
}

func intend(s State, c Intend) ([]Event, error) {
	switch {
	case s.Status == StatusNone:
		return []Event{c.Intended}, nil
	case s.Status == StatusIntended && s.Origin.Lease == c.Intended.Lease:
		return nil, nil
	}
	return nil, domain.Refuse(domain.KindConflict, "runtime_exists", "the runtime is %s already", s.Status)
}

func hold(s State, c Hold) ([]Event, error) {
	switch {
	case s.Status == StatusIntended && s.Origin.Lease == c.Lease:
		return []Event{Made{ProviderLeaseID: c.ProviderLeaseID}, Held{Lease: c.Lease}}, nil
	case s.Status == StatusHeld && s.Holder == c.Lease:
		return nil, nil
	}
	return nil, domain.Refuse(domain.KindConflict, "runtime_not_free", "the runtime is %s and not free for this lease", s.Status)
}

func free(s State, c Free) ([]Event, error) {
	switch {
	case s.Status == StatusHeld && s.Holder == c.Lease:
		return []Event{Freed(c)}, nil
	case s.Status == StatusFree:
		return nil, nil
	}
	return nil, domain.Refuse(domain.KindConflict, "runtime_not_held", "the runtime is %s and not held by this lease", s.Status)
}

func take(s State, c Take) ([]Event, error) {
	switch {
	case s.Status == StatusFree:
		return []Event{Held(c)}, nil
	case s.Status == StatusHeld && s.Holder == c.Lease:
		return nil, nil
	}
	return nil, domain.Refuse(domain.KindConflict, "runtime_not_free", "the runtime is %s and not free for this lease", s.Status)
}

func lose(s State, c Lose) ([]Event, error) {
	switch s.Status {
	case StatusHeld:
		return []Event{Freed{Lease: s.Holder}, Lost(c)}, nil
	case StatusFree:
		return []Event{Lost(c)}, nil
	case StatusLost:
		return nil, nil
	case StatusNone:
		return nil, domain.NotFound("runtime")
	case StatusIntended, StatusDestroying, StatusDestroyed, StatusDisowned:
	}
	return nil, domain.Refuse(domain.KindConflict, "runtime_not_made", "the runtime is %s", s.Status)
}

func destroy(s State, c Destroy) ([]Event, error) {
	if s.Status != StatusNone && c.Lease != s.Last {
		return nil, domain.Refuse(domain.KindStale, "runtime_passed_on", "the runtime is another lease's by now")
	}
	switch s.Status {
	case StatusIntended, StatusFree, StatusLost:
		return []Event{DestroyIntended{Reason: c.Reason}}, nil
	case StatusHeld:
		return []Event{Freed{Lease: s.Holder}, DestroyIntended{Reason: c.Reason}}, nil
	case StatusDestroying, StatusDestroyed, StatusDisowned:
		return nil, nil
	case StatusNone:
	}
	return nil, domain.NotFound("runtime")
}

func disown(s State) ([]Event, error) {
	switch s.Status {
	case StatusIntended, StatusHeld, StatusFree, StatusLost, StatusDestroying:
		return []Event{Disowned{}}, nil
	case StatusDestroyed, StatusDisowned, StatusNone:
	}
	return nil, nil
}

func confirmDestroyed(s State, c ConfirmDestroyed) ([]Event, error) {
	switch c.Proof {
	case ProofReleased, ProofNeverMade, ProofAbsent, ProofPerson, ProofForgotten:
	default:
		return nil, domain.Refuse(domain.KindInvalid, "unknown_proof", "%q does not prove that the runtime is gone", string(c.Proof)).
			On("proof").Mend("use %s, %s or %s", ProofReleased, ProofNeverMade, ProofAbsent)
	}
	switch s.Status {
	case StatusDestroying:
		return []Event{Destroyed(c)}, nil
	case StatusIntended:
		if c.Proof == ProofNeverMade {
			return []Event{Destroyed(c)}, nil
		}
	case StatusDestroyed:
		return nil, nil
	case StatusNone:
		return nil, domain.NotFound("runtime")
	case StatusHeld, StatusFree, StatusLost, StatusDisowned:
	}
	return nil, domain.Refuse(domain.KindConflict, "runtime_not_destroying", "the runtime is %s", s.Status)
}

// Evolve is the state after e.
func Evolve(s State, e Event, _ domain.Meta) State {
	switch e := e.(type) {
	case Intended:
		s.Status, s.Origin, s.Last = StatusIntended, e, e.Lease
	case Made:
		s.Status, s.ProviderLeaseID = StatusFree, e.ProviderLeaseID
	case Held:
		s.Status, s.Holder, s.Last = StatusHeld, e.Lease, e.Lease
	case Freed:
		s.Status, s.Holder = StatusFree, domain.LeaseID{}
	case Lost:
		s.Status = StatusLost
	case DestroyIntended:
		s.Status = StatusDestroying
	case Destroyed:
		s.Status, s.Proof = StatusDestroyed, e.Proof
	case Disowned:
		s.Status, s.Holder = StatusDisowned, domain.LeaseID{}
	}
	return s
}
