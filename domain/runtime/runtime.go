// Package runtime is the life of a thing provisioned: it has an id and a stream of its own, so that two holders are a
// version conflict in the log.
//
//	intended ──made──► held ──freed──► free ──destroy intended──► destroying ──► destroyed
//	    │                │                                             ▲
//	    └────────────────┴──────────── destroy intended ───────────────┘
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

// DestroyIntended says: a driver is about to be asked to destroy it.
type DestroyIntended struct {
	Reason string `json:"reason"`
}

// Destroyed says: it definitely does not exist any more, or never did.
type Destroyed struct {
	Proof Proof `json:"proof"`
}

// Proof is why a runtime is known to be gone.
type Proof string

// The proofs.
const (
	// ProofReleased: the driver said that it took it down.
	ProofReleased Proof = "released"
	// ProofNeverMade: the driver said that it made nothing.
	ProofNeverMade Proof = "never_made"
	// ProofAbsent: a complete list of the provider, taken when nobody was at it any more, does not have it.
	ProofAbsent Proof = "absent"
	// ProofPerson: a person says so.
	ProofPerson Proof = "person"
)

func (Intended) EventName() string        { return "RuntimeIntended" }
func (Made) EventName() string            { return "RuntimeMade" }
func (Held) EventName() string            { return "RuntimeHeld" }
func (Freed) EventName() string           { return "RuntimeFreed" }
func (DestroyIntended) EventName() string { return "RuntimeDestroyIntended" }
func (Destroyed) EventName() string       { return "RuntimeDestroyed" }

func (Intended) runtimeEvent()        {}
func (Made) runtimeEvent()            {}
func (Held) runtimeEvent()            {}
func (Freed) runtimeEvent()           {}
func (DestroyIntended) runtimeEvent() {}
func (Destroyed) runtimeEvent()       {}

// Codec is the catalog of this part.
var Codec = domain.NewCodec(
	domain.Spec[Intended, Event](),
	domain.Spec[Made, Event](),
	domain.Spec[Held, Event](),
	domain.Spec[Freed, Event](),
	domain.Spec[DestroyIntended, Event](),
	domain.Spec[Destroyed, Event](),
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

// Destroy takes it from its holder and announces its destruction. Doing so again changes nothing.
type Destroy struct{ Reason string }

// ConfirmDestroyed says that it is gone.
type ConfirmDestroyed struct{ Proof Proof }

func (Intend) runtimeCommand()           {}
func (Hold) runtimeCommand()             {}
func (Destroy) runtimeCommand()          {}
func (ConfirmDestroyed) runtimeCommand() {}

// Status is where a runtime stands.
type Status string

// The statuses of a runtime.
const (
	StatusNone       Status = ""
	StatusIntended   Status = "intended"
	StatusHeld       Status = "held"
	StatusFree       Status = "free"
	StatusDestroying Status = "destroying"
	StatusDestroyed  Status = "destroyed"
)

func (s Status) String() string { return string(s) }

// State is what the events of a runtime add up to.
type State struct {
	Status Status
	// Origin is what it was intended for.
	Origin          Intended
	ProviderLeaseID *string
	// Holder is the lease that holds it; zero for none.
	Holder domain.LeaseID
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
	case Destroy:
		return destroy(s, c)
	case ConfirmDestroyed:
		return confirmDestroyed(s, c)
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

func destroy(s State, c Destroy) ([]Event, error) {
	switch s.Status {
	case StatusIntended, StatusFree:
		return []Event{DestroyIntended(c)}, nil
	case StatusHeld:
		return []Event{Freed{Lease: s.Holder}, DestroyIntended(c)}, nil
	case StatusDestroying, StatusDestroyed:
		return nil, nil
	case StatusNone:
	}
	return nil, domain.NotFound("runtime")
}

func confirmDestroyed(s State, c ConfirmDestroyed) ([]Event, error) {
	switch c.Proof {
	case ProofReleased, ProofNeverMade, ProofAbsent, ProofPerson:
	default:
		return nil, domain.Refuse(domain.KindInvalid, "unknown_proof", "%q does not prove that the runtime is gone", string(c.Proof)).
			On("proof").Mend("use %s or %s", ProofReleased, ProofNeverMade)
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
	case StatusHeld, StatusFree:
	}
	return nil, domain.Refuse(domain.KindConflict, "runtime_not_destroying", "the runtime is %s", s.Status)
}

// Evolve is the state after e.
func Evolve(s State, e Event, _ domain.Meta) State {
	switch e := e.(type) {
	case Intended:
		s.Status, s.Origin = StatusIntended, e
	case Made:
		s.Status, s.ProviderLeaseID = StatusFree, e.ProviderLeaseID
	case Held:
		s.Status, s.Holder = StatusHeld, e.Lease
	case Freed:
		s.Status, s.Holder = StatusFree, domain.LeaseID{}
	case DestroyIntended:
		s.Status = StatusDestroying
	case Destroyed:
		s.Status = StatusDestroyed
	}
	return s
}
