// Package lease is the life of the right of one run to one runtime.
//
//	            cancel                   retry after back-off
//	requested ─────────► canceled      ┌────────────────┐
//	    │ grant                        ▼                │ attempt failed, retryable
//	    ▼                              │                │
//	 granted ──claim──► provisioning ──┴─────────► active ──release/expire──► releasing ──► released | expired
//	                         │ gives up                                           │          | failed | canceled
//	                         ▼                                                    ▼
//	                      failed (cleanup pending)                          pending_cleanup (teardown retried; see cleanup.go)
//
//	releasing ──kept──► retained ──► passed to the next lease, or torn down like a lease that failed
//
// A worker claims each step by an event before it touches anything, and its result names the attempt, so that the result of
// a worker which lost its claim is refused by the log. A lease that was asked to end while its runtime is being made
// remembers it; the runtime is destroyed when the attempt is over.
package lease

import (
	"cmp"
	"encoding/json"
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
)

// Decider is the lease's decider.
var Decider = domain.Decider[State, Command, Event]{
	Initial: func() State { return State{} },
	Decide:  Decide,
	Evolve:  Evolve,
}

// State is what the events of a lease add up to. Read models keep it as JSON, without what is zero.
type State struct {
	Company            domain.CompanyID
	Environment        domain.EnvironmentID
	EnvironmentVersion int64           `json:",omitempty"`
	Driver             string          `json:",omitempty"`
	Provider           string          `json:",omitempty"`
	Config             json.RawMessage `json:",omitempty"`
	Run                string          `json:",omitempty"`
	Context            Context
	Policy             Policy           `json:",omitempty"`
	TTL, IdleTimeout   time.Duration    `json:",omitempty"`
	MaxTTL             time.Duration    `json:",omitempty"`
	Env                []domain.EnvName `json:",omitempty"`
	// Selection says why it is this environment; nil if the request named it.
	Selection   *Selection `json:",omitempty"`
	RequestedAt time.Time
	// RetainFor is how long the runtime is kept where the policy keeps it.
	RetainFor time.Duration `json:",omitempty"`

	// Queue is how it waits for a slot.
	Queue Queueing `json:",omitzero"`

	Granted bool  `json:",omitempty"`
	Slot    int   `json:",omitempty"`
	Fence   int64 `json:",omitempty"`
	// From is the lease whose kept runtime came with the slot.
	From domain.LeaseID `json:",omitzero"`
	// GrantRule is why it was this lease; "" in the log of old.
	GrantedAt time.Time
	GrantRule admission.Rule `json:",omitempty"`

	// Attempt is the last provisioning attempt; Attempting says that it is open and Worker holds it until Deadline.
	Attempt    int  `json:",omitempty"`
	Attempting bool `json:",omitempty"`
	Runtime    domain.RuntimeID
	RetryAt    time.Time
	// Plugin was asked for the runtime; nil for a driver of the engine's own, or before the first attempt.
	Plugin *Plugin `json:",omitempty"`
	// Node is where the runtime is, if it can be driven there only.
	Node domain.NodeID `json:",omitzero"`
	// MaybeMade says that an attempt which is over, or was taken over, may have made the runtime: what a later attempt with
	// the same runtime id finds out about itself does not take that back.
	MaybeMade bool `json:",omitempty"`
	// Resuming says that the runtime is a kept one that no attempt has resumed yet. Fingerprint tells what it is made from, and
	// Replaces why a kept one was not used.
	Resuming    bool   `json:",omitempty"`
	Fingerprint string `json:",omitempty"`
	Replaces    string `json:",omitempty"`

	ProviderLeaseID *string         `json:",omitempty"`
	Metadata        json.RawMessage `json:",omitempty"`
	Acquisition     Acquisition     `json:",omitempty"`
	// AcquisitionReason is why the runtime is a replacement.
	AcquisitionReason string `json:",omitempty"`
	AcquiredAt        time.Time
	LastUsedAt        time.Time
	HardExpiresAt     time.Time
	ExpiresAt         time.Time
	// WarnedOf is the ExpiresAt of which the last warning warned.
	WarnedOf time.Time

	ReleaseReason  Reason `json:",omitempty"`
	ReleaseMessage string `json:",omitempty"`
	// Disposition is what becomes of the runtime; "" is to destroy it.
	Disposition Disposition `json:",omitempty"`
	// Teardown is the last teardown attempt; TearingDown says that it is open and Worker holds it until Deadline.
	Teardown        int  `json:",omitempty"`
	TearingDown     bool `json:",omitempty"`
	TeardownFailed  bool `json:",omitempty"`
	TeardownRetryAt time.Time
	// TeardownCode and TeardownMessage are why the last of the teardowns that failed did.
	TeardownCode    string `json:",omitempty"`
	TeardownMessage string `json:",omitempty"`
	// TeardownFails counts the teardowns that failed since a person last asked for a retry.
	TeardownFails int  `json:",omitempty"`
	Quarantined   bool `json:",omitempty"`
	// Forced says that the lease ended without a proof that its runtime is gone.
	Forced bool `json:",omitempty"`
	// Listed says that its runtime stands on the list of leaks, or did.
	Listed bool `json:",omitempty"`

	// AwaitsNode says that the teardown waits for the node, which is lost; Forgotten that the node was given up.
	AwaitsNode bool `json:",omitempty"`
	Forgotten  bool `json:",omitempty"`

	Worker   domain.WorkerID
	Deadline time.Time

	FailureCode    string `json:",omitempty"`
	FailureMessage string `json:",omitempty"`
	// End is the final status; CleanupNeeded says that something may still exist outside.
	End           Status `json:",omitempty"`
	EndedAt       time.Time
	CleanupNeeded bool `json:",omitempty"`
	Cleaned       bool `json:",omitempty"`
	// Kept says that the runtime is kept for another lease, until KeptUntil; PassedTo is the one that took it over, and
	// RetentionEnd is why it is to go instead.
	Kept         bool            `json:",omitempty"`
	KeptUntil    time.Time       `json:",omitzero"`
	PassedTo     domain.LeaseID  `json:",omitzero"`
	RetentionEnd RetentionReason `json:",omitempty"`
}

// Status is where the lease stands.
func (s State) Status() Status {
	switch {
	case s.End != StatusNone:
		return s.End
	case s.ReleaseReason != "" && s.TeardownFailed:
		return StatusPendingCleanup
	case s.ReleaseReason != "":
		return StatusReleasing
	case !s.AcquiredAt.IsZero():
		return StatusActive
	case s.Attempt > 0:
		return StatusProvisioning
	case s.Granted:
		return StatusGranted
	case !s.Company.IsZero() || s.Run != "":
		return StatusRequested
	default:
		return StatusNone
	}
}

// CleanupStatus is how far the removal of the runtime got.
func (s State) CleanupStatus() CleanupStatus {
	switch {
	case s.Cleaned:
		return CleanupSuccess
	case s.Quarantined, s.Forced:
		return CleanupFailed
	case s.CleanupNeeded && !s.Kept:
		return CleanupPending
	default:
		return CleanupNone
	}
}

// HoldsSlot reports whether the lease still takes up a slot of its environment: from the grant until nothing is left, or
// until a person gives up waiting for that. A kept runtime takes one too.
func (s State) HoldsSlot() bool {
	return s.Granted && (s.End == StatusNone || s.CleanupNeeded && !s.Cleaned && !s.Forced)
}

// Evolve is the state after e.
func Evolve(s State, e Event, m domain.Meta) State {
	switch e := e.(type) {
	case Requested:
		s.Company, s.Environment, s.EnvironmentVersion = e.Company, e.Environment, e.EnvironmentVersion
		s.Driver, s.Provider, s.Config = e.Driver, e.Provider, e.Config
		s.Run, s.Context, s.Policy, s.Env = e.Run, e.Context, e.Policy, e.Env
		s.TTL, s.IdleTimeout, s.Selection = ms(e.TTLMs), ms(e.IdleTimeoutMs), e.Selection
		s.RequestedAt, s.Queue, s.RetainFor, s.MaxTTL = m.At, e.Queue, ms(e.RetainForMs), ms(e.MaxTTLMs)
	case Granted:
		s.Granted, s.Slot, s.Fence, s.From, s.Node = true, e.Slot, m.Fence(), e.From, e.Node
		s.GrantedAt, s.GrantRule = m.At, e.Rule
	case Canceled:
		s.End, s.EndedAt, s.TearingDown, s.Attempting = StatusCanceled, m.At, false, false
		s.Cleaned = s.CleanupNeeded && !s.Forced
	case ProvisioningStarted:
		s.MaybeMade = s.MaybeMade || s.Attempting
		s.Attempt, s.Attempting, s.Runtime = e.Attempt, true, e.Runtime
		s.Worker, s.Deadline, s.CleanupNeeded, s.Plugin = e.Worker, e.Deadline, true, e.Plugin
		s.Fingerprint, s.Resuming, s.Node = e.Fingerprint, !e.Resumes.IsZero(), e.Node
		if s.Resuming {
			s.MaybeMade, s.ProviderLeaseID, s.Metadata = true, e.ProviderLeaseID, e.Metadata
		}
		s.Replaces = cmp.Or(e.Replaces, s.Replaces)
	case ProvisioningFailed:
		s.Attempting, s.RetryAt = false, timeOf(e.RetryAt)
		s.FailureCode, s.FailureMessage = e.Code, e.Message
		if e.Gone != "" {
			return goneBy(s, e.Gone)
		}
		if !s.Resuming {
			s.ProviderLeaseID = e.ProviderLeaseID
		}
		s.MaybeMade = s.MaybeMade || e.Kind != FailureDefinite && !e.NothingMade
		s.CleanupNeeded = s.MaybeMade
	case ProvisioningAbandoned:
		s.Attempting = false
		if e.Gone != "" {
			return goneBy(s, e.Gone)
		}
		if !s.Resuming || e.ProviderLeaseID != nil {
			s.ProviderLeaseID, s.Metadata = e.ProviderLeaseID, e.Metadata
		}
		s.MaybeMade = s.MaybeMade || !e.NothingMade
		s.CleanupNeeded = s.MaybeMade
	case Provisioned:
		s.Attempting, s.Resuming, s.Runtime = false, false, e.Runtime
		s.AcquisitionReason = e.AcquisitionReason
		s.ProviderLeaseID, s.Metadata, s.Acquisition = e.ProviderLeaseID, e.Metadata, e.Acquisition
		s.AcquiredAt, s.LastUsedAt = m.At, m.At
		s.HardExpiresAt, s.ExpiresAt = e.HardExpiresAt, e.ExpiresAt
		s.FailureCode, s.FailureMessage = "", ""
	case Renewed:
		s.LastUsedAt, s.ExpiresAt, s.HardExpiresAt = m.At, e.ExpiresAt, hardEnd(s.HardExpiresAt, e.HardExpiresAt)
	case ExpiryWarned:
		s.WarnedOf = s.ExpiresAt
	case ReleaseRequested:
		s.ReleaseReason, s.ReleaseMessage, s.Disposition = e.Reason, e.Message, e.Disposition
	case ReleaseStarted:
		s.Teardown, s.TearingDown = e.Attempt, true
		s.Worker, s.Deadline, s.AwaitsNode = e.Worker, e.Deadline, false
	case ReleaseFailed:
		s.TearingDown, s.TeardownFailed, s.TeardownRetryAt = false, true, e.RetryAt
		s.TeardownCode, s.TeardownMessage, s.TeardownFails = e.Code, e.Message, s.TeardownFails+1
	case Released:
		s.End, s.EndedAt, s.TearingDown, s.Cleaned = StatusReleased, m.At, false, s.CleanupNeeded && !s.Forced
		s.FailureCode, s.FailureMessage = "", ""
	case Expired:
		s.End, s.EndedAt, s.TearingDown, s.Cleaned = StatusExpired, m.At, false, s.CleanupNeeded && !s.Forced
		s.FailureCode, s.FailureMessage = "", ""
	case Failed:
		s.End, s.EndedAt, s.TearingDown = StatusFailed, m.At, false
		s.CleanupNeeded, s.Cleaned = e.CleanupPending, s.CleanupNeeded && !e.CleanupPending
		s.FailureCode, s.FailureMessage = e.Code, e.Message
		s.Kept, s.KeptUntil = e.KeptUntil != nil, timeOf(e.KeptUntil)
	case CleanupCompleted:
		s.TearingDown, s.Cleaned = false, true
	case Retained:
		return s.retained(e, m)
	case RetentionEnded:
		s.Kept, s.RetentionEnd, s.TeardownRetryAt = false, e.Reason, time.Time{}
	case RuntimePassed:
		s.Kept, s.PassedTo, s.CleanupNeeded = false, e.To, false
	case Disowned:
		s.Attempting, s.TearingDown, s.CleanupNeeded, s.Kept = false, false, false, false
	case Quarantined:
		s.Quarantined, s.Listed = true, true
	case CleanupRetryRequested:
		s.Quarantined, s.TeardownFails, s.TeardownRetryAt = false, 0, time.Time{}
	case NodeLost:
		return s.awaitsNode(e)
	case NodeForgotten:
		s.Forgotten, s.AwaitsNode, s.Attempting, s.TearingDown = true, false, false, false
	case CleanupForced:
		s.Forced, s.Listed, s.Attempting, s.TearingDown = true, true, false, false
	}
	return s
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}
