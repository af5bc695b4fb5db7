package lease

// Policy is what happens to the runtime between leases.
type Policy string

// The policies.
const (
	// PolicyEphemeral makes a runtime for the lease and destroys it with the lease. It is the default.
	PolicyEphemeral Policy = "ephemeral"
	// PolicyReuseByEnvironment keeps the runtime for the next lease of the same environment, agent, adapter and provider;
	// PolicyReuseByWorkspace for one that also has the same execution workspace or, where there is none, the same issue.
	PolicyReuseByEnvironment Policy = "reuse_by_environment"
	PolicyReuseByWorkspace   Policy = "reuse_by_execution_workspace"
	// PolicyRetainOnFailure destroys the runtime with the lease, but for a run that failed: then it is kept to be looked at.
	PolicyRetainOnFailure Policy = "retain_on_failure"
)

// Reason is why a lease is taken down.
type Reason string

// The reasons of a release.
const (
	// ReasonReleased: the holder gave it back.
	ReasonReleased Reason = "released"
	// ReasonExpired: its time ran out.
	ReasonExpired Reason = "expired"
	// ReasonFailed: the run that held it failed.
	ReasonFailed Reason = "failed"
	// ReasonCanceled: it was canceled while its runtime was being made.
	ReasonCanceled Reason = "canceled"
)

// FailureKind says what a failed attempt left behind.
type FailureKind string

// The kinds of a failed attempt.
const (
	// FailureRetryable: the same attempt may be made again with the same runtime id.
	FailureRetryable FailureKind = "retryable"
	// FailureDefinite: it cannot succeed and nothing exists outside.
	FailureDefinite FailureKind = "definite"
	// FailureAmbiguous: something may exist outside.
	FailureAmbiguous FailureKind = "ambiguous"
)

// Acquisition says where a lease's runtime came from.
type Acquisition string

// The ways to come by a runtime.
const (
	AcquisitionCreated Acquisition = "created"
	// AcquisitionResumed: it existed before the attempt: kept by another lease, or made by an attempt whose reply was lost.
	AcquisitionResumed Acquisition = "resumed"
	// AcquisitionReplacement: it was made in place of a kept one that could not be used.
	AcquisitionReplacement Acquisition = "replacement"
)

// Plugin is an installed plugin that makes a lease's runtime.
type Plugin struct {
	ID  string `json:"id"`
	Key string `json:"key"`
	// Version is the plugin's own.
	Version string `json:"version"`
}

// Status is where a lease stands.
type Status string

// The statuses of a lease.
const (
	StatusNone           Status = ""
	StatusRequested      Status = "requested"
	StatusGranted        Status = "granted"
	StatusProvisioning   Status = "provisioning"
	StatusActive         Status = "active"
	StatusReleasing      Status = "releasing"
	StatusPendingCleanup Status = "pending_cleanup"
	StatusReleased       Status = "released"
	StatusExpired        Status = "expired"
	StatusFailed         Status = "failed"
	StatusRetained       Status = "retained"
	StatusCanceled       Status = "canceled"
)

func (s Status) String() string { return string(s) }

// Ended reports whether the lease has ended; an ended lease is never revived.
func (s Status) Ended() bool {
	switch s {
	case StatusReleased, StatusExpired, StatusFailed, StatusRetained, StatusCanceled:
		return true
	case StatusNone, StatusRequested, StatusGranted, StatusProvisioning, StatusActive, StatusReleasing, StatusPendingCleanup:
		return false
	}
	return false
}

// CleanupStatus is how far the removal of a lease's runtime got; "" when there is nothing to remove (yet).
type CleanupStatus string

// The states of a cleanup; [CleanupFailed] is another.
const (
	CleanupNone    CleanupStatus = ""
	CleanupPending CleanupStatus = "pending"
	CleanupSuccess CleanupStatus = "success"
)
