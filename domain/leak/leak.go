// Package leak is the life of a thing that may be left outside although no lease looks after it.
//
//	(none) ──found──► open ──destroy intended──► open ──cleared──► cleared
//	                   ▲                                             │
//	                   └────────────────── found again ──────────────┘
//
// A leak has a stream of its own, whose id follows from the thing: whoever comes upon the thing finds the same leak. It
// stands on the list until there is a proof that the thing is gone or is looked after again, or until a person says why it
// need not stand there any more. What is on the list may not exist: for some things that is all that can be known.
package leak

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
)

// Category is the first part of the name of a leak's stream.
const Category = "leak"

// Event is a fact in the life of a leak.
//
//sumtype:decl
type Event interface {
	domain.Event
	leakEvent()
}

// Found says: this may be left outside. What is not known of it is absent.
type Found struct {
	Company     domain.CompanyID     `json:"companyId"`
	Environment domain.EnvironmentID `json:"environmentId"`
	Lease       domain.LeaseID       `json:"leaseId"`
	Runtime     domain.RuntimeID     `json:"runtimeId"`
	Driver      string               `json:"driver"`
	Provider    string               `json:"provider"`
	// ProviderLeaseID is its name at the provider; absent where it has none, or none is known.
	ProviderLeaseID *string `json:"providerLeaseId,omitempty"`
	// Node is where it is, if it is bound to one; zero for none.
	Node domain.NodeID `json:"nodeId"`
	Why  Why           `json:"why"`
	// Place is where to look for it; see [PlaceOf].
	Place string `json:"place"`
	// FirstSeen is since when it is known to have nobody who looks after it.
	FirstSeen time.Time `json:"firstSeen"`
}

// DestroyIntended says: a driver is about to be asked to destroy it.
type DestroyIntended struct {
	Worker domain.WorkerID `json:"workerId"`
}

// DestroyFailed says: it could not be destroyed. It is tried again; only another reason is said again.
type DestroyFailed struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Cleared says: it need not stand on the list any more.
type Cleared struct {
	Proof Proof `json:"proof"`
	// Reason is a person's.
	Reason string `json:"reason,omitempty"`
}

// Why is how a thing came to have nobody who looks after it.
type Why string

// The reasons.
const (
	// WhyQuarantined: a lease could not be taken down, and is tried only once in a long while.
	WhyQuarantined Why = "quarantined"
	// WhyForced: a person ended a lease by force.
	WhyForced Why = "forced"
	// WhyMismatch: a runtime was kept for another lease, and what answers to its name is something else by now.
	WhyMismatch Why = "identity_mismatch"
	// WhyUnknown: the provider has it under this installation's name, and the log knows nothing of it.
	WhyUnknown Why = "unknown_runtime"
	// WhyLate: the provider has it although the log says that it is destroyed; it was made or came back too late.
	WhyLate Why = "made_too_late"
	// WhyEnded: the provider has it although its lease is over.
	WhyEnded Why = "lease_over"
	// WhyExtra: the provider has it beside the one that a lease holds.
	WhyExtra Why = "extra"
)

func (w Why) String() string { return string(w) }

// Proof is why a leak is cleared.
type Proof string

// The proofs.
const (
	// ProofDestroyed: a driver destroyed it and said so.
	ProofDestroyed Proof = "destroyed"
	// ProofAbsent: a complete list of the provider does not have it.
	ProofAbsent Proof = "absent"
	// ProofAdopted: a lease holds it.
	ProofAdopted Proof = "adopted"
	// ProofPerson: a person says why it need not be looked after.
	ProofPerson Proof = "person"
	// ProofForgotten: a person gave up the node that it was on.
	ProofForgotten Proof = "node_forgotten"
)

func (Found) EventName() string           { return "LeakFound" }
func (DestroyIntended) EventName() string { return "LeakDestroyIntended" }
func (DestroyFailed) EventName() string   { return "LeakDestroyFailed" }
func (Cleared) EventName() string         { return "LeakCleared" }

func (Found) leakEvent()           {}
func (DestroyIntended) leakEvent() {}
func (DestroyFailed) leakEvent()   {}
func (Cleared) leakEvent()         {}

// Codec is the catalog of this part.
var Codec = domain.NewCodec(
	domain.Spec[Found, Event](),
	domain.Spec[DestroyIntended, Event](),
	domain.Spec[DestroyFailed, Event](),
	domain.Spec[Cleared, Event](),
)

// space is where ids of leaks come from; it must never change.
var space = uuid.MustParse("6f0b4f0e-9c0f-5f0a-8a53-3f1c6d1f7c11")

// OfRuntime is the leak of a runtime.
func OfRuntime(id domain.RuntimeID) domain.LeakID {
	return domain.LeakID{UUID: uuid.NewSHA1(space, []byte("runtime\x00"+id.String()))}
}

// OfName is the leak of what is known by its name at a provider only.
func OfName(installation uuid.UUID, provider, name string) domain.LeakID {
	return domain.LeakID{UUID: uuid.NewSHA1(space, []byte(strings.Join([]string{"name", installation.String(), provider, name}, "\x00")))}
}

// PlaceOf names where a driver with a configuration looks for things. The same configuration is the same place, however it
// is written.
func PlaceOf(driver, provider string, config json.RawMessage) string {
	var fields any
	if len(config) == 0 || json.Unmarshal(config, &fields) != nil || fields == nil {
		fields = map[string]any{}
	}
	canonical, err := json.Marshal([]any{driver, provider, fields})
	if err != nil {
		canonical = config // what was read as JSON can be written as such
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:12])
}

// Command is what may be asked of a leak.
type Command interface{ leakCommand() }

// Find says that something may be left. Of what stands on the list already it changes nothing.
type Find struct{ Found Found }

// IntendDestroy announces that a driver will be asked. Doing so again changes nothing.
type IntendDestroy struct{ Worker domain.WorkerID }

// FailDestroy says that it could not be destroyed.
type FailDestroy struct{ Code, Message string }

// Clear takes it off the list. Of what is not on the list it changes nothing.
type Clear struct {
	Proof  Proof
	Reason string
}

func (Find) leakCommand()          {}
func (IntendDestroy) leakCommand() {}
func (FailDestroy) leakCommand()   {}
func (Clear) leakCommand()         {}

// Status is where a leak stands.
type Status string

// The statuses of a leak.
const (
	StatusNone    Status = ""
	StatusOpen    Status = "open"
	StatusCleared Status = "cleared"
)

func (s Status) String() string { return string(s) }

// State is what the events of a leak add up to. Read models keep it as JSON.
type State struct {
	Status  Status
	Found   Found
	FoundAt time.Time
	// Destroying says that a driver was asked, or is about to be.
	Destroying bool `json:",omitempty"`
	// FailureCode and FailureMessage are why it could not be destroyed.
	FailureCode    string `json:",omitempty"`
	FailureMessage string `json:",omitempty"`
	Cleared        Cleared
	ClearedAt      time.Time
}

// Decider is the leak's decider.
var Decider = domain.Decider[State, Command, Event]{
	Initial: func() State { return State{} },
	Decide:  Decide,
	Evolve:  Evolve,
}

// Decide answers a command.
func Decide(s State, cmd Command) ([]Event, error) {
	switch c := cmd.(type) {
	case Find:
		return find(s, c)
	case IntendDestroy:
		if s.Status != StatusOpen {
			return nil, notOpen(s)
		}
		if s.Destroying {
			return nil, nil
		}
		return []Event{DestroyIntended(c)}, nil
	case FailDestroy:
		code := domain.CleanWord(c.Code)
		if s.Status != StatusOpen || s.FailureCode == code {
			return nil, nil
		}
		return []Event{DestroyFailed{Code: code, Message: domain.Clean(c.Message, domain.MaxMessage)}}, nil
	case Clear:
		return clearLeak(s, c)
	}
	return nil, domain.Refuse(domain.KindInvalid, "unknown_command", "the leak does not know this command")
}

func find(s State, c Find) ([]Event, error) {
	if c.Found.Why == "" || c.Found.Driver == "" {
		return nil, domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("why").Mend("say why it is one, and of which driver")
	}
	if s.Status == StatusOpen {
		return nil, nil
	}
	return []Event{c.Found}, nil
}

func clearLeak(s State, c Clear) ([]Event, error) {
	switch c.Proof {
	case ProofDestroyed, ProofAbsent, ProofAdopted, ProofForgotten:
		if s.Status != StatusOpen {
			return nil, nil
		}
	case ProofPerson:
		if c.Reason == "" {
			return nil, domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("reason").
				Mend("say why it need not stand on the list any more; it goes into the history")
		}
		if err := domain.CheckText("reason", c.Reason, domain.MaxMessage); err != nil {
			return nil, err
		}
	default:
		return nil, domain.Refuse(domain.KindInvalid, "unknown_proof", "%q does not clear a leak", string(c.Proof)).On("proof").
			Mend("use %s, %s, %s or %s", ProofDestroyed, ProofAbsent, ProofAdopted, ProofPerson)
	}
	switch s.Status {
	case StatusOpen:
		return []Event{Cleared(c)}, nil
	case StatusCleared:
		return nil, nil
	case StatusNone:
	}
	return nil, domain.NotFound("leak")
}

func notOpen(s State) error {
	if s.Status == StatusNone {
		return domain.NotFound("leak")
	}
	return domain.Refuse(domain.KindStale, "leak_cleared", "the leak is %s", s.Status)
}

// Evolve is the state after e.
func Evolve(s State, e Event, m domain.Meta) State {
	switch e := e.(type) {
	case Found:
		s = State{Status: StatusOpen, Found: e, FoundAt: m.At}
	case DestroyIntended:
		s.Destroying = true
	case DestroyFailed:
		s.FailureCode, s.FailureMessage = e.Code, e.Message
	case Cleared:
		s.Status, s.Cleared, s.ClearedAt, s.Destroying = StatusCleared, e, m.At, false
	}
	return s
}
