// Package lease is the life of the right of one run to one runtime.
//
//	            cancel                   retry after back-off
//	requested ─────────► canceled      ┌────────────────┐
//	    │ grant                        ▼                │ attempt failed, retryable
//	    ▼                              │                │
//	 granted ──claim──► provisioning ──┴─────────► active ──release/expire──► releasing ──► released | expired
//	                         │ gives up                                           │          | failed | canceled
//	                         ▼                                                    ▼
//	                      failed (cleanup pending)                          pending_cleanup (teardown retried)
//
// A worker claims each step by an event before it touches anything, and its result names the attempt, so that the result of
// a worker which lost its claim is refused by the log. A lease that was asked to end while its runtime is being made
// remembers it; the runtime is destroyed when the attempt is over.
package lease

import (
	"encoding/json"
	"time"

	"github.com/tenure-dev/tenure/domain"
)

// Decider is the lease's decider.
var Decider = domain.Decider[State, Command, Event]{
	Initial: func() State { return State{} },
	Decide:  Decide,
	Evolve:  Evolve,
}

// RenewWindow is how often, as a part of the idle timeout, use of a lease becomes a durable event.
const RenewWindow = 10

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
	Env                []domain.EnvName `json:",omitempty"`
	// Selection says why it is this environment; nil if the request named it.
	Selection   *Selection `json:",omitempty"`
	RequestedAt time.Time

	Granted bool  `json:",omitempty"`
	Slot    int   `json:",omitempty"`
	Fence   int64 `json:",omitempty"`

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

	ProviderLeaseID *string         `json:",omitempty"`
	Metadata        json.RawMessage `json:",omitempty"`
	Acquisition     Acquisition     `json:",omitempty"`
	AcquiredAt      time.Time
	LastUsedAt      time.Time
	HardExpiresAt   time.Time
	ExpiresAt       time.Time

	ReleaseReason  Reason `json:",omitempty"`
	ReleaseMessage string `json:",omitempty"`
	// Teardown is the last teardown attempt; TearingDown says that it is open and Worker holds it until Deadline.
	Teardown        int  `json:",omitempty"`
	TearingDown     bool `json:",omitempty"`
	TeardownFailed  bool `json:",omitempty"`
	TeardownRetryAt time.Time
	// TeardownCode and TeardownMessage are why the last of the teardowns that failed did.
	TeardownCode    string `json:",omitempty"`
	TeardownMessage string `json:",omitempty"`

	Worker   domain.WorkerID
	Deadline time.Time

	FailureCode    string `json:",omitempty"`
	FailureMessage string `json:",omitempty"`
	// End is the final status; CleanupNeeded says that something may still exist outside.
	End           Status `json:",omitempty"`
	EndedAt       time.Time
	CleanupNeeded bool `json:",omitempty"`
	Cleaned       bool `json:",omitempty"`
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
	case s.CleanupNeeded:
		return CleanupPending
	default:
		return CleanupNone
	}
}

// HoldsSlot reports whether the lease still takes up a slot of its environment: from the grant until nothing is left.
func (s State) HoldsSlot() bool {
	return s.Granted && (s.End == StatusNone || s.CleanupNeeded && !s.Cleaned)
}

// Evolve is the state after e.
func Evolve(s State, e Event, m domain.Meta) State {
	switch e := e.(type) {
	case Requested:
		s.Company, s.Environment, s.EnvironmentVersion = e.Company, e.Environment, e.EnvironmentVersion
		s.Driver, s.Provider, s.Config = e.Driver, e.Provider, e.Config
		s.Run, s.Context, s.Policy, s.Env = e.Run, e.Context, e.Policy, e.Env
		s.TTL, s.IdleTimeout, s.Selection = ms(e.TTLMs), ms(e.IdleTimeoutMs), e.Selection
		s.RequestedAt = m.At
	case Granted:
		s.Granted, s.Slot, s.Fence = true, e.Slot, m.Fence()
	case Canceled:
		s.End, s.EndedAt, s.TearingDown, s.Attempting = StatusCanceled, m.At, false, false
		s.Cleaned = s.CleanupNeeded
	case ProvisioningStarted:
		s.MaybeMade = s.MaybeMade || s.Attempting
		s.Attempt, s.Attempting, s.Runtime = e.Attempt, true, e.Runtime
		s.Worker, s.Deadline, s.CleanupNeeded, s.Plugin = e.Worker, e.Deadline, true, e.Plugin
		s.Node = e.Node
	case ProvisioningFailed:
		s.Attempting, s.RetryAt = false, timeOf(e.RetryAt)
		s.FailureCode, s.FailureMessage, s.ProviderLeaseID = e.Code, e.Message, e.ProviderLeaseID
		s.MaybeMade = s.MaybeMade || e.Kind != FailureDefinite && !e.NothingMade
		s.CleanupNeeded = s.MaybeMade
	case ProvisioningAbandoned:
		s.Attempting, s.ProviderLeaseID, s.Metadata = false, e.ProviderLeaseID, e.Metadata
		s.MaybeMade = s.MaybeMade || !e.NothingMade
		s.CleanupNeeded = s.MaybeMade
	case Provisioned:
		s.Attempting, s.Runtime = false, e.Runtime
		s.ProviderLeaseID, s.Metadata, s.Acquisition = e.ProviderLeaseID, e.Metadata, e.Acquisition
		s.AcquiredAt, s.LastUsedAt = m.At, m.At
		s.HardExpiresAt, s.ExpiresAt = e.HardExpiresAt, e.ExpiresAt
		s.FailureCode, s.FailureMessage = "", ""
	case Renewed:
		s.LastUsedAt, s.ExpiresAt = m.At, e.ExpiresAt
	case ReleaseRequested:
		s.ReleaseReason, s.ReleaseMessage = e.Reason, e.Message
	case ReleaseStarted:
		s.Teardown, s.TearingDown = e.Attempt, true
		s.Worker, s.Deadline = e.Worker, e.Deadline
	case ReleaseFailed:
		s.TearingDown, s.TeardownFailed, s.TeardownRetryAt = false, true, e.RetryAt
		s.TeardownCode, s.TeardownMessage = e.Code, e.Message
	case Released:
		s.End, s.EndedAt, s.TearingDown, s.Cleaned = StatusReleased, m.At, false, s.CleanupNeeded
		s.FailureCode, s.FailureMessage = "", ""
	case Expired:
		s.End, s.EndedAt, s.TearingDown, s.Cleaned = StatusExpired, m.At, false, s.CleanupNeeded
		s.FailureCode, s.FailureMessage = "", ""
	case Failed:
		s.End, s.EndedAt, s.TearingDown = StatusFailed, m.At, false
		s.CleanupNeeded, s.Cleaned = e.CleanupPending, s.CleanupNeeded && !e.CleanupPending
		s.FailureCode, s.FailureMessage = e.Code, e.Message
	case CleanupCompleted:
		s.TearingDown, s.Cleaned = false, true
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
