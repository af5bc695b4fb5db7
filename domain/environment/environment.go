// Package environment is the life of a place work may run.
//
//	                     reconfigure
//	                     ┌────────┐
//	        register     ▼        │           archive
//	(none) ──────────► active ────┴───────────────────────────► archived
//	                     │  │      retire            archive       │
//	                     │  └────────────► archiving ──────────────┤
//	                     │                deleting ────────────────┤ delete
//	                     │                           delete        ▼
//	                     └─────────────────────────────────────► deleted
//
// It retires, instead of ending at once, while leases are taken down that it still has: from then on it admits none.
// A lease copies what it needs of its environment when it is requested, so that no lease depends on what the environment
// says later. How many leases it holds at once is kept by the admission, whose capacity follows MaxLeases.
package environment

import (
	"encoding/json"
	"time"

	"github.com/tenure-dev/tenure/domain"
)

// Category is the first part of the name of an environment's stream.
const Category = "environment"

// Decider is the environment's decider.
var Decider = domain.Decider[State, Command, Event]{
	Initial: func() State { return State{} },
	Decide:  Decide,
	Evolve:  Evolve,
}

// Status is where an environment stands.
type Status string

// The statuses of an environment.
const (
	StatusNone     Status = ""
	StatusActive   Status = "active"
	StatusArchived Status = "archived"
	// StatusArchiving and StatusDeleting: its leases are being taken down first.
	StatusArchiving Status = "archiving"
	StatusDeleting  Status = "deleting"
	StatusDeleted   Status = "deleted"
)

// Retiring reports whether its leases are being taken down before its end.
func (s Status) Retiring() bool { return s == StatusArchiving || s == StatusDeleting }

func (s Status) String() string { return string(s) }

// State is what the events of an environment add up to.
type State struct {
	Status      Status
	Company     domain.CompanyID
	Name        string
	Description string
	Driver      string
	// Config is the driver's own; nobody else opens it.
	Config    json.RawMessage
	EnvVars   map[string]domain.EnvValue
	MaxLeases int
	Metadata  json.RawMessage
	// MaxQueued is the most leases that may wait at once; nil is the admission's default.
	MaxQueued *int `json:",omitempty"`
	// MaxTTLMs is 0 for [DefaultMaxTTL].
	MaxTTLMs int64 `json:",omitempty"`

	CreatedAt time.Time
	UpdatedAt time.Time
}

// Settings is what of the environment may be changed.
func (s State) Settings() Reconfigured {
	return Reconfigured{
		Name: s.Name, Description: s.Description, Driver: s.Driver, Config: s.Config,
		EnvVars: s.EnvVars, MaxLeases: s.MaxLeases, Metadata: s.Metadata, MaxQueued: s.MaxQueued, MaxTTLMs: s.MaxTTLMs,
	}
}

// Evolve is the state after e.
func Evolve(s State, e Event, m domain.Meta) State {
	switch e := e.(type) {
	case Registered:
		s.Status, s.Company = StatusActive, e.Company
		s.Name, s.Description, s.Driver, s.Config = e.Name, e.Description, e.Driver, e.Config
		s.EnvVars, s.MaxLeases, s.Metadata = e.EnvVars, e.MaxLeases, e.Metadata
		s.MaxQueued, s.MaxTTLMs = e.MaxQueued, e.MaxTTLMs
		s.CreatedAt, s.UpdatedAt = m.At, m.At
	case Reconfigured:
		s.Name, s.Description, s.Driver, s.Config = e.Name, e.Description, e.Driver, e.Config
		s.EnvVars, s.MaxLeases, s.Metadata = e.EnvVars, e.MaxLeases, e.Metadata
		s.MaxQueued, s.MaxTTLMs = e.MaxQueued, e.MaxTTLMs
		s.UpdatedAt = m.At
	case RetirementRequested:
		s.Status, s.UpdatedAt = e.status(), m.At
	case Archived:
		s.Status, s.UpdatedAt = StatusArchived, m.At
	case Deleted:
		s.Status, s.UpdatedAt = StatusDeleted, m.At
	}
	return s
}
