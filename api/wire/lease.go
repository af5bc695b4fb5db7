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
	LeaseRetained       = "retained"
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
	// HardExpiresAt is when it ends however much it is used, unless a renewal with a ttl moves that.
	HardExpiresAt *time.Time `json:"hardExpiresAt"`
	// TTLMs and IdleTimeoutMs are what was asked for, cut to what the environment allows.
	TTLMs         int64 `json:"ttlMs"`
	IdleTimeoutMs int64 `json:"idleTimeoutMs"`
	// ReleasedAt is when it ended, however it did.
	ReleasedAt *time.Time `json:"releasedAt"`
	// FailureReason is why it failed.
	FailureReason *string `json:"failureReason"`
	// CleanupStatus is pending, success, failed, or null when there is nothing to clean up (yet).
	CleanupStatus *string `json:"cleanupStatus"`
	// CleanupError is why the last try to remove the runtime failed; null once it is removed.
	CleanupError *string `json:"cleanupError"`
	// Acquisition says where the runtime came from; null before the lease was active.
	Acquisition *Acquisition `json:"acquisition"`
	// RetainedUntil is how long the runtime is kept for another lease; null where none is (any more).
	RetainedUntil *time.Time `json:"retainedUntil"`
	// Cleanup says more of it; null before the first try.
	Cleanup *Cleanup `json:"cleanup"`
	// Metadata has driver, executionWorkspaceMode, and what the driver says.
	Metadata map[string]any `json:"metadata"`
	// Selection is why it is of its environment; null if the request named it.
	Selection *Selection `json:"selection"`
	// Priority, FairnessKey and Weight are by what it is put in order while it waits; see [AcquireLease].
	Priority    string `json:"priority"`
	FairnessKey string `json:"fairnessKey"`
	Weight      int    `json:"weight"`
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
	case LeaseReleased, LeaseExpired, LeaseFailed, LeaseRetained, LeaseCanceled:
		return true
	}
	return false
}

// Acquisition is where a lease's runtime came from.
type Acquisition struct {
	// Outcome is created, resumed or replacement.
	Outcome string `json:"outcome"`
	// Reason is why a kept runtime was replaced: lease_fingerprint_mismatch, runtime_gone, identity_mismatch, or why it went.
	Reason *string `json:"reason"`
	// FromLeaseID is the lease that had kept the runtime, or the one that was replaced.
	FromLeaseID *uuid.UUID `json:"fromLeaseId"`
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
	// LeasePolicy is ephemeral (the default), reuse_by_environment, reuse_by_execution_workspace or retain_on_failure.
	LeasePolicy string `json:"leasePolicy,omitempty"`
	// RetainFor is how long the runtime is kept where the policy keeps it, as a Go duration; 1h without it.
	RetainFor string `json:"retainFor,omitempty"`
	// TTL and IdleTimeout are Go durations, such as "90m"; without them 24h and 1h. A ttl above what the environment allows
	// is cut to that.
	TTL         string            `json:"ttl,omitempty"`
	IdleTimeout string            `json:"idleTimeout,omitempty"`
	Env         map[string]string `json:"env,omitempty"`
	// Priority is high, normal (the default) or low. FairnessKey is whom the request counts for, by default the agent, and
	// Weight, 1 to 100, its share: requests of one priority are granted to the keys in turn, by weight, and then by age.
	Priority    string `json:"priority,omitempty"`
	FairnessKey string `json:"fairnessKey,omitempty"`
	Weight      *int   `json:"weight,omitempty"`
	// QueueTimeout is a Go duration after which a lease that still waits for a slot fails; without it, it waits without
	// limit. NoWait asks for a slot at once or for a refusal.
	QueueTimeout string `json:"queueTimeout,omitempty"`
	NoWait       bool   `json:"noWait,omitempty"`
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
	// Disposition is what becomes of the runtime: destroy, keep_running or stop_and_retain; without it the policy decides. Of a
	// lease that has ended, destroy ends what it keeps.
	Disposition string `json:"disposition,omitempty"`
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
