package wire

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// Environment is a place work may run.
type Environment struct {
	ID          uuid.UUID `json:"id"`
	CompanyID   uuid.UUID `json:"companyId"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Driver      string    `json:"driver"`
	// Config is the driver's own.
	Config json.RawMessage `json:"config"`
	// EnvVars are in the environment of every command. The values of secrets are not here, only references.
	EnvVars map[string]EnvValue `json:"envVars"`
	// MaxLeases is the most leases at once; 0 is no limit.
	MaxLeases int             `json:"maxLeases"`
	Metadata  json.RawMessage `json:"metadata"`
	// MaxQueued is the most leases that may wait at once; 0 lets nobody wait.
	MaxQueued int `json:"maxQueued"`
	// Warnings are what of a change may not be meant; only in the answer to one.
	Warnings []string `json:"warnings,omitempty"`
	// MaxTTL is how long a lease may last at most, as a Go duration; null for the server's 720h.
	MaxTTL *string `json:"maxTtl"`
	// Status is active, archived or deleted; archiving or deleting while its leases are taken down first.
	Status    string    `json:"status"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
	Version   int64     `json:"version"`
	Position  int64     `json:"position,omitempty"`
}

// AddEnvironment asks for an environment.
type AddEnvironment struct {
	Name        string              `json:"name"`
	Description string              `json:"description,omitempty"`
	Driver      string              `json:"driver"`
	Config      json.RawMessage     `json:"config,omitempty"`
	EnvVars     map[string]EnvValue `json:"envVars,omitempty"`
	MaxLeases   int                 `json:"maxLeases,omitempty"`
	Metadata    json.RawMessage     `json:"metadata,omitempty"`
	// MaxQueued is 1000 if it is not given.
	MaxQueued *int    `json:"maxQueued,omitempty"`
	MaxTTL    *string `json:"maxTtl,omitempty"`
}

// EnvironmentSettings is what of an environment a merge patch (RFC 7396) applies to.
type EnvironmentSettings struct {
	Name        string              `json:"name"`
	Description string              `json:"description"`
	Driver      string              `json:"driver"`
	Config      json.RawMessage     `json:"config"`
	EnvVars     map[string]EnvValue `json:"envVars"`
	MaxLeases   int                 `json:"maxLeases"`
	Metadata    json.RawMessage     `json:"metadata"`
	MaxQueued   *int                `json:"maxQueued"`
	MaxTTL      *string             `json:"maxTtl"`
}

// RetireEnvironment asks to archive or delete an environment.
type RetireEnvironment struct {
	// Force takes down first what stands in the way.
	Force bool `json:"force,omitempty"`
}
