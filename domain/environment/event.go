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
}

// Archived says: it takes no new leases. The leases that it has go on.
type Archived struct{}

func (Registered) EventName() string   { return "EnvironmentRegistered" }
func (Reconfigured) EventName() string { return "EnvironmentReconfigured" }
func (Archived) EventName() string     { return "EnvironmentArchived" }

func (Registered) environmentEvent()   {}
func (Reconfigured) environmentEvent() {}
func (Archived) environmentEvent()     {}

// Codec is the catalog of this part.
var Codec = domain.NewCodec(
	domain.Spec[Registered, Event](),
	domain.Spec[Reconfigured, Event](),
	domain.Spec[Archived, Event](),
)
