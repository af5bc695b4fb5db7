package environment

import (
	"encoding/json"

	"github.com/tenure-dev/tenure/domain"
)

// Event is a fact in the life of an environment.
//
//sumtype:decl
type Event interface {
	domain.Event
	environmentEvent()
}

// Registered says: a company has a place to run work.
type Registered struct {
	Company     domain.CompanyID           `json:"companyId"`
	Name        string                     `json:"name"`
	Description string                     `json:"description,omitempty"`
	Driver      string                     `json:"driver"`
	Config      json.RawMessage            `json:"config"`
	EnvVars     map[string]domain.EnvValue `json:"envVars,omitempty"`
	// MaxLeases is the most leases that may be active at once; 0 is no limit.
	MaxLeases int             `json:"maxLeases"`
	Metadata  json.RawMessage `json:"metadata,omitempty"`
	// MaxQueued is the most leases that may wait at once; absent is the admission's default.
	MaxQueued *int `json:"maxQueued,omitempty"`
	// MaxTTLMs is how long a lease may last at most; absent for [DefaultMaxTTL].
	MaxTTLMs int64 `json:"maxTtlMs,omitempty"`
}

// Reconfigured says: its settings are these now, all of them.
type Reconfigured struct {
	Name        string                     `json:"name"`
	Description string                     `json:"description,omitempty"`
	Driver      string                     `json:"driver"`
	Config      json.RawMessage            `json:"config"`
	EnvVars     map[string]domain.EnvValue `json:"envVars,omitempty"`
	MaxLeases   int                        `json:"maxLeases"`
	Metadata    json.RawMessage            `json:"metadata,omitempty"`
	MaxQueued   *int                       `json:"maxQueued,omitempty"`
	MaxTTLMs    int64                      `json:"maxTtlMs,omitempty"`
}

// RetirementRequested says: it takes no new leases, those that it has are taken down, and then it is archived, or deleted.
type RetirementRequested struct {
	Delete bool `json:"delete"`
}

func (e RetirementRequested) status() Status {
	if e.Delete {
		return StatusDeleting
	}
	return StatusArchiving
}

// Archived says: it takes no new leases.
type Archived struct{}

// Deleted says: it is gone, and only its history is left.
type Deleted struct{}

func (Registered) EventName() string   { return "EnvironmentRegistered" }
func (Reconfigured) EventName() string { return "EnvironmentReconfigured" }
func (Archived) EventName() string     { return "EnvironmentArchived" }
func (Deleted) EventName() string      { return "EnvironmentDeleted" }

// EventName is the event's name in the log.
func (RetirementRequested) EventName() string { return "EnvironmentRetirementRequested" }

func (Registered) environmentEvent()   {}
func (Reconfigured) environmentEvent() {}
func (Archived) environmentEvent()     {}
func (Deleted) environmentEvent()      {}

func (RetirementRequested) environmentEvent() {}

// Codec is the catalog of this part.
var Codec = domain.NewCodec(
	domain.Spec[Registered, Event](),
	domain.Spec[Reconfigured, Event](),
	domain.Spec[RetirementRequested, Event](),
	domain.Spec[Archived, Event](),
	domain.Spec[Deleted, Event](),
)
