// Package key is the life of an API key.
//
//	        add             revoke
//	(none) ─────► active ──────────► revoked
//
// The log knows the hash of a key's secret and never the secret, which is shown once, to who added it. A revoked key is
// never valid again.
package key

import (
	"strings"
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
)

// Category is the first part of the name of a key's stream.
const Category = "key"

// Event is a fact in the life of a key.
//
//sumtype:decl
type Event interface {
	domain.Event
	keyEvent()
}

// Added says: who has the secret may act.
type Added struct {
	// Company is the one whose things the key may reach; zero is every company.
	Company domain.CompanyID `json:"companyId"`
	Role    access.Role      `json:"role"`
	Name    string           `json:"name"`
	// Hash is SHA-256 of the secret, in hexadecimal. The secret has 256 random bits, so that no slow hash is needed.
	Hash string `json:"hash"`
	// Principal is who acts with the key, as the log names it.
	Principal domain.PrincipalID `json:"principalId"`
}

// Revoked says: the key is not valid any more.
type Revoked struct{}

func (Added) EventName() string   { return "KeyAdded" }
func (Revoked) EventName() string { return "KeyRevoked" }

func (Added) keyEvent()   {}
func (Revoked) keyEvent() {}

// Codec is the catalog of this part.
var Codec = domain.NewCodec(
	domain.Spec[Added, Event](),
	domain.Spec[Revoked, Event](),
)

// Command is what may be asked of a key.
type Command interface{ keyCommand() }

// Add starts a key.
type Add struct{ Added Added }

// Revoke ends it. Doing so again changes nothing.
type Revoke struct{}

func (Add) keyCommand()    {}
func (Revoke) keyCommand() {}

// Status is where a key stands.
type Status string

// The statuses of a key.
const (
	StatusNone    Status = ""
	StatusActive  Status = "active"
	StatusRevoked Status = "revoked"
)

func (s Status) String() string { return string(s) }

// State is what the events of a key add up to.
type State struct {
	Status    Status
	Key       Added
	AddedAt   time.Time
	RevokedAt time.Time
}

// Decider is the key's decider.
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
	case Revoke:
		return revoke(s)
	}
	return nil, domain.Refuse(domain.KindInvalid, "unknown_command", "the key does not know this command")
}

func add(s State, c Add) ([]Event, error) {
	if s.Status != StatusNone {
		return nil, domain.Refuse(domain.KindConflict, "key_exists", "a key with this id exists already")
	}
	if err := domain.CheckName("name", c.Added.Name); err != nil {
		return nil, err
	}
	switch {
	case !c.Added.Role.Known():
		return nil, domain.Refuse(domain.KindInvalid, "unknown_role", "%q is not a role", string(c.Added.Role)).On("role").
			Mend("use %s", access.Names(access.Roles()))
	case !isSHA256(c.Added.Hash):
		return nil, domain.Refuse(domain.KindInvalid, "invalid_hash", "is not a SHA-256 in lower-case hexadecimal").On("hash").
			Mend("store the hash of the secret, never the secret")
	case c.Added.Principal.IsZero():
		return nil, domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("principalId").Mend("name who acts with the key")
	}
	return []Event{c.Added}, nil
}

func isSHA256(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

func revoke(s State) ([]Event, error) {
	switch s.Status {
	case StatusActive:
		return []Event{Revoked{}}, nil
	case StatusRevoked:
		return nil, nil
	case StatusNone:
	}
	return nil, domain.NotFound("key")
}

// Evolve is the state after e.
func Evolve(s State, e Event, m domain.Meta) State {
	switch e := e.(type) {
	case Added:
		s.Status, s.Key, s.AddedAt = StatusActive, e, m.At
	case Revoked:
		s.Status, s.RevokedAt = StatusRevoked, m.At
	}
	return s
}
