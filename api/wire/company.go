package wire

import (
	"time"

	"github.com/google/uuid"
)

// Company owns environments, leases and keys.
type Company struct {
	ID        uuid.UUID `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"createdAt"`
	// DefaultEnvironmentID is where runs work that name no environment; null is nowhere.
	DefaultEnvironmentID *uuid.UUID `json:"defaultEnvironmentId"`
	Version              int64      `json:"version"`
	Position             int64      `json:"position,omitempty"`
}

// CompanySettings is what of a company a merge patch (RFC 7396) applies to.
type CompanySettings struct {
	DefaultEnvironmentID *uuid.UUID `json:"defaultEnvironmentId"`
}

// AddCompany asks for a company.
type AddCompany struct {
	Name string `json:"name"`
}

// Key lets somebody act.
type Key struct {
	ID uuid.UUID `json:"id"`
	// CompanyID is the only company that the key reaches; null reaches every one.
	CompanyID *uuid.UUID `json:"companyId"`
	// Role is client, auditor, operator or admin.
	Role string `json:"role"`
	Name string `json:"name"`
	// PrincipalID is who acts with the key, as events name it.
	PrincipalID uuid.UUID `json:"principalId"`
	// Status is active or revoked.
	Status    string     `json:"status"`
	CreatedAt time.Time  `json:"createdAt"`
	RevokedAt *time.Time `json:"revokedAt"`
	Version   int64      `json:"version"`
	// Key is the key itself, only in the answer to its creation: it is stored nowhere.
	Key      string `json:"key,omitempty"`
	Position int64  `json:"position,omitempty"`
}

// AddKey asks for a key.
type AddKey struct {
	Name string `json:"name"`
	Role string `json:"role"`
}
