package lease

import (
	"encoding/json"
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/selection"
)

// Event is a fact in the life of a lease.
//
//sumtype:decl
type Event interface {
	domain.Event
	leaseEvent()
}

// Requested says: a run asked for a lease. It carries all that provisioning and cleanup will ever need of the environment, so
// that neither depends on what the environment says later.
type Requested struct {
	Company     domain.CompanyID     `json:"companyId"`
	Environment domain.EnvironmentID `json:"environmentId"`
	// EnvironmentVersion is the version of the environment's stream that Driver and Config were read from.
	EnvironmentVersion int64           `json:"environmentVersion"`
	Driver             string          `json:"driver"`
	Provider           string          `json:"provider"`
	Config             json.RawMessage `json:"config"`
	Run                string          `json:"heartbeatRunId"`
	Context            Context         `json:"context"`
	Policy             Policy          `json:"leasePolicy"`
	TTLMs              int64           `json:"ttlMs"`
	IdleTimeoutMs      int64           `json:"idleTimeoutMs"`
	// MaxTTLMs is the most that the environment allows now; absent before there was such a thing.
	MaxTTLMs int64 `json:"maxTtlMs,omitempty"`
	// Env names the variables of the lease; their values are kept beside the log and go with the lease.
	Env []domain.EnvName `json:"env,omitempty"`
	// Selection says why it is this environment; absent if the request named it.
	Selection *Selection `json:"selection,omitempty"`
	// RetainForMs is how long the runtime is kept where the policy keeps it; absent for an ephemeral lease.
	RetainForMs int64 `json:"retainForMs,omitempty"`
	// Queue is how it waits for a slot; absent if the request did not say.
	Queue Queueing `json:"queue,omitzero"`
}

// Selection is why a lease is of its environment.
type Selection struct {
	Level  selection.Level `json:"level"`
	Reason string          `json:"reason"`
}

// Context is client context carried along; an absent part is "".
type Context struct {
	Issue         string `json:"issueId,omitempty"`
	Agent         string `json:"agentId,omitempty"`
	Workspace     string `json:"executionWorkspaceId,omitempty"`
	WorkspaceMode string `json:"executionWorkspaceMode,omitempty"`
	Adapter       string `json:"adapterType,omitempty"`
}

// Granted says: the lease has a slot of its environment.
type Granted struct {
	Slot int `json:"slot"`
	// From is the lease whose kept runtime comes with the slot.
	From domain.LeaseID `json:"fromLeaseId,omitzero"`
	// Node is where that runtime is, if it can be driven there only.
	Node domain.NodeID `json:"nodeId,omitzero"`
	// Rule is why it was this lease; absent in the log of old.
	Rule admission.Rule `json:"rule,omitempty"`
}

// Canceled says: the lease ended before anything was made for it, or all that was made is gone again.
type Canceled struct {
	Reason string `json:"reason"`
}

// ProvisioningStarted says: a worker claimed the attempt and is about to call the driver.
type ProvisioningStarted struct {
	Attempt  int              `json:"attempt"`
	Runtime  domain.RuntimeID `json:"runtimeId"`
	Worker   domain.WorkerID  `json:"workerId"`
	Deadline time.Time        `json:"deadline"`
	// Plugin is who will be asked; absent for a driver of the engine's own. It drives the lease to its end.
	Plugin *Plugin `json:"plugin,omitempty"`
	// Fingerprint tells what the runtime is made from.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Resumes is the lease that kept the runtime which this attempt resumes; absent for one that makes a runtime. What that
	// lease knew of it is ProviderLeaseID and Metadata.
	Resumes         domain.LeaseID  `json:"resumesLeaseId,omitzero"`
	ProviderLeaseID *string         `json:"providerLeaseId,omitempty"`
	Metadata        json.RawMessage `json:"metadata,omitempty"`
	// Replaces is why a kept runtime that the lease could have had is not used.
	Replaces string `json:"replaces,omitempty"`
	// Node is where the runtime will be, if it can be driven there only.
	Node domain.NodeID `json:"nodeId,omitzero"`
}

// ProvisioningFailed says: the attempt ended without a runtime.
type ProvisioningFailed struct {
	Attempt int         `json:"attempt"`
	Kind    FailureKind `json:"kind"`
	// NothingMade says of a retryable failure that the attempt made nothing. Of a definite one its kind says it.
	NothingMade bool   `json:"nothingMade,omitempty"`
	Code        string `json:"code"`
	Step        string `json:"step,omitempty"`
	Message     string `json:"message"`
	// ProviderLeaseID is the name of what the attempt made all the same: some providers know a runtime by no other name.
	ProviderLeaseID *string `json:"providerLeaseId,omitempty"`
	// RetryAt is when the next attempt may start; absent when there is none.
	RetryAt *time.Time `json:"retryAt,omitempty"`
	// Gone says that the kept runtime which was to be resumed will never be back: the next attempt makes another one.
	Gone GoneReason `json:"gone,omitempty"`
}

// ProvisioningAbandoned says: the attempt ended after a release was asked for, or its worker is gone. Whatever it made is
// destroyed by the release.
type ProvisioningAbandoned struct {
	Attempt int    `json:"attempt"`
	Code    string `json:"code"`
	// NothingMade says that the attempt made nothing.
	NothingMade bool `json:"nothingMade,omitempty"`
	// Gone is as in [ProvisioningFailed].
	Gone GoneReason `json:"gone,omitempty"`
	// ProviderLeaseID and Metadata are what the attempt made, if it came to its good end: some providers know a runtime by
	// no other name.
	ProviderLeaseID *string         `json:"providerLeaseId,omitempty"`
	Metadata        json.RawMessage `json:"metadata,omitempty"`
}

// Provisioned says: the runtime is there and the lease holds it.
type Provisioned struct {
	Attempt         int              `json:"attempt"`
	Runtime         domain.RuntimeID `json:"runtimeId"`
	ProviderLeaseID *string          `json:"providerLeaseId"`
	// Metadata is the driver's own, an object; nobody else opens it.
	Metadata    json.RawMessage `json:"metadata,omitempty"`
	Acquisition Acquisition     `json:"acquisition"`
	// AcquisitionReason is why it is a replacement.
	AcquisitionReason string `json:"acquisitionReason,omitempty"`
	// HardExpiresAt is where the ttl ends the lease whatever happens; ExpiresAt is the earlier of it and the idle limit.
	HardExpiresAt time.Time `json:"hardExpiresAt"`
	ExpiresAt     time.Time `json:"expiresAt"`
}

// Renewed says: the lease was used or renewed; the idle limit counts from here.
type Renewed struct {
	ExpiresAt time.Time `json:"expiresAt"`
	// HardExpiresAt is where the ttl ends the lease from now on; absent where it did.
	HardExpiresAt *time.Time `json:"hardExpiresAt,omitempty"`
}

// ReleaseRequested says: the lease is to be taken down.
type ReleaseRequested struct {
	Reason Reason `json:"reason"`
	// Message is the caller's own word on it, such as why the run failed.
	Message string `json:"message,omitempty"`
	// Disposition is what becomes of the runtime; absent: it is destroyed.
	Disposition Disposition `json:"disposition,omitempty"`
}

// ReleaseStarted says: a worker claimed the teardown and is about to call the driver.
type ReleaseStarted struct {
	Attempt  int             `json:"attempt"`
	Worker   domain.WorkerID `json:"workerId"`
	Deadline time.Time       `json:"deadline"`
}

// ReleaseFailed says: the teardown did not finish; it is tried again.
type ReleaseFailed struct {
	Attempt int       `json:"attempt"`
	Code    string    `json:"code"`
	Message string    `json:"message"`
	RetryAt time.Time `json:"retryAt"`
}

// Released says: the lease was given back and nothing is left of it.
type Released struct{}

// Expired says: the lease ran out and nothing is left of it.
type Expired struct{}

// Failed says: the lease ended by a failure. With CleanupPending something may still exist outside.
type Failed struct {
	Code           string `json:"code"`
	Message        string `json:"message"`
	CleanupPending bool   `json:"cleanupPending"`
	// KeptUntil is how long the runtime is kept that the lease was to resume and could not reach; absent: what may exist is
	// destroyed.
	KeptUntil *time.Time `json:"keptUntil,omitempty"`
}

// CleanupCompleted says: nothing is left of a lease that had ended before.
type CleanupCompleted struct{}

func (Requested) EventName() string             { return "LeaseRequested" }
func (Granted) EventName() string               { return "LeaseGranted" }
func (Canceled) EventName() string              { return "LeaseCanceled" }
func (ProvisioningStarted) EventName() string   { return "LeaseProvisioningStarted" }
func (ProvisioningFailed) EventName() string    { return "LeaseProvisioningFailed" }
func (ProvisioningAbandoned) EventName() string { return "LeaseProvisioningAbandoned" }
func (Provisioned) EventName() string           { return "LeaseProvisioned" }
func (Renewed) EventName() string               { return "LeaseRenewed" }
func (ReleaseRequested) EventName() string      { return "LeaseReleaseRequested" }
func (ReleaseStarted) EventName() string        { return "LeaseReleaseStarted" }
func (ReleaseFailed) EventName() string         { return "LeaseReleaseFailed" }
func (Released) EventName() string              { return "LeaseReleased" }
func (Expired) EventName() string               { return "LeaseExpired" }
func (Failed) EventName() string                { return "LeaseFailed" }
func (CleanupCompleted) EventName() string      { return "LeaseCleanupCompleted" }

func (Requested) leaseEvent()             {}
func (Granted) leaseEvent()               {}
func (Canceled) leaseEvent()              {}
func (ProvisioningStarted) leaseEvent()   {}
func (ProvisioningFailed) leaseEvent()    {}
func (ProvisioningAbandoned) leaseEvent() {}
func (Provisioned) leaseEvent()           {}
func (Renewed) leaseEvent()               {}
func (ReleaseRequested) leaseEvent()      {}
func (ReleaseStarted) leaseEvent()        {}
func (ReleaseFailed) leaseEvent()         {}
func (Released) leaseEvent()              {}
func (Expired) leaseEvent()               {}
func (Failed) leaseEvent()                {}
func (CleanupCompleted) leaseEvent()      {}
