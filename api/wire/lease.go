package wire

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// The statuses of a lease.
const (
	LeaseQueued         = "queued"
	LeaseProvisioning   = "provisioning"
	LeaseActive         = "active"
	LeaseReleasing      = "releasing"
	LeasePendingCleanup = "pending_cleanup"
	LeaseReleased       = "released"
	LeaseExpired        = "expired"
	LeaseFailed         = "failed"
	LeaseCanceled       = "canceled"
)

// Lease is the right of one run to one runtime of one environment.
type Lease struct {
	ID             uuid.UUID `json:"id"`
	CompanyID      uuid.UUID `json:"companyId"`
	EnvironmentID  uuid.UUID `json:"environmentId"`
	HeartbeatRunID string    `json:"heartbeatRunId"`
	IssueID        *string   `json:"issueId"`
	AgentID        *string   `json:"agentId"`
	Status         string    `json:"status"`
	LeasePolicy    string    `json:"leasePolicy"`
	Provider       string    `json:"provider"`
	// ProviderLeaseID is the runtime's name at the provider; null where it has none.
	ProviderLeaseID *string   `json:"providerLeaseId"`
	CreatedAt       time.Time `json:"createdAt"`
	// AcquiredAt is when it became active.
	AcquiredAt *time.Time `json:"acquiredAt"`
	LastUsedAt *time.Time `json:"lastUsedAt"`
	// ExpiresAt is when it ends by itself unless it is used: the earlier of ttl and idleTimeout.
	ExpiresAt *time.Time `json:"expiresAt"`
	// ReleasedAt is when it ended, however it did.
	ReleasedAt *time.Time `json:"releasedAt"`
	// FailureReason is why it failed.
	FailureReason *string `json:"failureReason"`
	// CleanupStatus is pending, success, failed, or null when there is nothing to clean up (yet).
	CleanupStatus *string `json:"cleanupStatus"`
	// CleanupError is why the last try to remove the runtime failed; null once it is removed.
	CleanupError *string `json:"cleanupError"`
	// Cleanup says more of it; null before the first try.
	Cleanup *Cleanup `json:"cleanup"`
	// Metadata has driver, executionWorkspaceMode, and what the driver says.
	Metadata map[string]any `json:"metadata"`
	// Selection is why it is of its environment; null if the request named it.
	Selection *Selection `json:"selection"`
	// Fence orders holders: a newer lease of a runtime has a larger one. 0 before the grant.
	Fence   int64 `json:"fence"`
	Version int64 `json:"version"`
	// RemainingMs is how long it lives on unless it is used; only in the answer to a renewal.
	RemainingMs *int64 `json:"remainingMs,omitempty"`
	Position    int64  `json:"position,omitempty"`
}

// Ended reports whether the lease has ended; an ended lease is never revived.
func (l Lease) Ended() bool {
	switch l.Status {
	case LeaseReleased, LeaseExpired, LeaseFailed, LeaseCanceled:
		return true
	}
	return false
}

// Selection is why a lease is of its environment.
type Selection struct {
	EnvironmentID uuid.UUID `json:"environmentId"`
	// Level is issue, project, agent, company or local: who named the environment.
	Level string `json:"level"`
	// Reason is for a person.
	Reason string `json:"reason"`
}

// SelectFrom is what each level names for a request that names no environment itself.
type SelectFrom struct {
	IssueEnvironmentID   *uuid.UUID `json:"issueEnvironmentId,omitempty"`
	ProjectEnvironmentID *uuid.UUID `json:"projectEnvironmentId,omitempty"`
	AgentEnvironmentID   *uuid.UUID `json:"agentEnvironmentId,omitempty"`
}

// LeaseContext is what the client said of where it works.
type LeaseContext struct {
	ExecutionWorkspaceID   *string `json:"executionWorkspaceId"`
	ExecutionWorkspaceMode *string `json:"executionWorkspaceMode"`
}

// AcquireLease asks for a lease.
type AcquireLease struct {
	// EnvironmentID names the environment; without it, it is selected.
	EnvironmentID uuid.UUID `json:"environmentId,omitzero"`
	// Selection is what is selected from, before the company's default and its local environments.
	Selection              *SelectFrom `json:"selection,omitempty"`
	HeartbeatRunID         string      `json:"heartbeatRunId"`
	IssueID                string      `json:"issueId,omitempty"`
	AgentID                string      `json:"agentId,omitempty"`
	ExecutionWorkspaceID   string      `json:"executionWorkspaceId,omitempty"`
	ExecutionWorkspaceMode string      `json:"executionWorkspaceMode,omitempty"`
	AdapterType            string      `json:"adapterType,omitempty"`
	LeasePolicy            string      `json:"leasePolicy,omitempty"`
	// TTL and IdleTimeout are Go durations, such as "90m"; without them 24h and 1h.
	TTL         string            `json:"ttl,omitempty"`
	IdleTimeout string            `json:"idleTimeout,omitempty"`
	Env         map[string]string `json:"env,omitempty"`
}

// Acquired is the answer to a request for a lease: with 201 it is active, with 202 not yet.
type Acquired struct {
	Environment  Environment  `json:"environment"`
	Lease        Lease        `json:"lease"`
	LeaseContext LeaseContext `json:"leaseContext"`
	// Selection is null for a request that named the environment.
	Selection *Selection `json:"selection"`
	Position  int64      `json:"position"`
}

// Release asks to take a lease down, or all of a run's.
type Release struct {
	// Status is what the lease ends as: released (the default), expired or failed.
	Status  string `json:"status,omitempty"`
	Message string `json:"message,omitempty"`
}

// Cancel asks to give up a lease that is not active yet.
type Cancel struct {
	Reason string `json:"reason,omitempty"`
}

// RunReleased is what a call to release a run asked to take down, as it is now.
type RunReleased struct {
	Released []ReleasedLease `json:"released"`
	Position int64           `json:"position"`
}

// ReleasedLease is a lease and its environment.
type ReleasedLease struct {
	Environment Environment `json:"environment"`
	Lease       Lease       `json:"lease"`
}

// Event is a fact in the log.
type Event struct {
	// Position is its place in the log, Version its place in its stream.
	Position int64  `json:"position"`
	Stream   string `json:"stream"`
	Version  int64  `json:"version"`
	Name     string `json:"name"`
	Revision int    `json:"revision"`
	// CompanyID owns it; null is "no company". CompanyPosition is its place among that company's.
	CompanyID       *uuid.UUID `json:"companyId"`
	CompanyPosition int64      `json:"companyPosition"`
	RecordedAt      time.Time  `json:"recordedAt"`
	// ActorID, KeyID and RequestID say who caused it; null for the engine itself.
	ActorID   *uuid.UUID `json:"actorId"`
	KeyID     *uuid.UUID `json:"keyId"`
	RequestID *uuid.UUID `json:"requestId"`
	// Data is the fact, as stored; null once it was erased.
	Data json.RawMessage `json:"data"`
}
