package lease

import (
	"fmt"
	"strings"
	"time"

	"github.com/tenure-dev/tenure/domain"
)

// A runtime can outlive its lease. What becomes of it follows from the policy of the lease and from how it ends:
//
//	policy                          released, expired   failed            canceled
//	ephemeral                       destroy             destroy           destroy
//	reuse_by_environment,
//	reuse_by_execution_workspace    keep_running        keep_running      destroy; a resumed runtime is kept
//	retain_on_failure               destroy             stop_and_retain   destroy
//
// Whoever releases the lease may choose another disposition, but an ephemeral runtime is never kept, nor one that is not known
// to exist yet: what an attempt without an answer has made is found by its teardown alone.
//
// The lease that a runtime was kept by is retained, and answers for it until another one takes it over (RuntimePassed) or it
// is to go (RetentionEnded): then the lease is torn down like any other that has ended.

// Disposition is what becomes of the runtime when its lease ends.
type Disposition string

// The dispositions.
const (
	DispositionDestroy       Disposition = "destroy"
	DispositionKeepRunning   Disposition = "keep_running"
	DispositionStopAndRetain Disposition = "stop_and_retain"
)

// Keeps reports whether the runtime outlives the lease.
func (d Disposition) Keeps() bool {
	return d == DispositionKeepRunning || d == DispositionStopAndRetain
}

// DefaultRetention is how long a runtime is kept for a lease that does not say; MaxRetention is the longest.
const (
	DefaultRetention = time.Hour
	MaxRetention     = 30 * 24 * time.Hour
)

// RetentionReason is why a kept runtime is to go.
type RetentionReason string

// The reasons.
const (
	// RetentionExpired: nobody wanted it for as long as it was to be kept.
	RetentionExpired RetentionReason = "retention_expired"
	// RetentionEvicted: another lease waits for its slot.
	RetentionEvicted RetentionReason = "evicted"
	// RetentionDrift: who wanted it has another configuration, plugin version or version of a secret.
	RetentionDrift RetentionReason = "lease_fingerprint_mismatch"
	// RetentionReleased: somebody asked for it, or its environment ends.
	RetentionReleased RetentionReason = "released"
)

// GoneReason is why a kept runtime could not be resumed and never will be.
type GoneReason string

// The reasons.
const (
	// GoneAbsent: it certainly does not exist any more.
	GoneAbsent GoneReason = "runtime_gone"
	// GoneMismatch: what answers to its name is another one.
	GoneMismatch GoneReason = "identity_mismatch"
)

// Resume is a kept runtime that an attempt is to resume, as its last lease knew it.
type Resume struct {
	Lease           domain.LeaseID
	Runtime         domain.RuntimeID
	ProviderLeaseID *string
	Metadata        []byte
}

// Pass gives the kept runtime to another lease.
type Pass struct{ To domain.LeaseID }

// EndRetention says that a kept runtime is to go; Now is when. One that expires does so only when its time is over. Of a
// lease that keeps none it changes nothing.
type EndRetention struct {
	Reason RetentionReason
	Now    time.Time
}

func (Pass) leaseCommand()         {}
func (EndRetention) leaseCommand() {}

// Retained says: the lease ended, and its runtime is kept for another one.
type Retained struct {
	Disposition Disposition `json:"disposition"`
	KeptUntil   time.Time   `json:"keptUntil"`
}

// RetentionEnded says: the runtime that was kept is to go.
type RetentionEnded struct {
	Reason RetentionReason `json:"reason"`
}

// RuntimePassed says: the runtime that was kept is another lease's.
type RuntimePassed struct {
	To domain.LeaseID `json:"toLeaseId"`
}

func (Retained) EventName() string       { return "LeaseRetained" }
func (RetentionEnded) EventName() string { return "LeaseRetentionEnded" }
func (RuntimePassed) EventName() string  { return "LeaseRuntimePassed" }

func (Retained) leaseEvent()       {}
func (RetentionEnded) leaseEvent() {}
func (RuntimePassed) leaseEvent()  {}

// Scope names for whom a runtime of this request may be kept: a request with an equal one may have it. Company and
// environment are not in it, since whoever asks looks within one environment. It is "" where no other request may.
func (r Requested) Scope() string { return scope(r.Policy, r.Provider, r.Context) }

// Scope is that of its request.
func (s State) Scope() string { return scope(s.Policy, s.Provider, s.Context) }

func scope(policy Policy, provider string, c Context) string {
	var own []string
	switch policy {
	case PolicyReuseByEnvironment:
	case PolicyReuseByWorkspace:
		if c.Workspace != "" {
			own = append(own, fmt.Sprintf("workspace=%q", c.Workspace))
		} else {
			own = append(own, fmt.Sprintf("issue=%q", c.Issue))
		}
	case PolicyEphemeral, PolicyRetainOnFailure:
		return ""
	}
	return strings.Join(append([]string{
		fmt.Sprintf("provider=%q", provider), fmt.Sprintf("agent=%q", c.Agent), fmt.Sprintf("adapter=%q", c.Adapter),
	}, own...), " ")
}

func checkPolicy(r Requested) error {
	switch r.Policy {
	case PolicyEphemeral:
		return nil
	case PolicyReuseByEnvironment, PolicyRetainOnFailure:
	case PolicyReuseByWorkspace:
		if r.Context.Workspace == "" && r.Context.Issue == "" {
			return domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("executionWorkspaceId").
				Mend("name the workspace, or the issueId, whose runtime is to be reused; %s needs none", PolicyReuseByEnvironment)
		}
	default:
		return domain.Refuse(domain.KindInvalid, "unknown_lease_policy", "%q is not a lease policy", r.Policy).On("leasePolicy").
			Mend("use %s, %s, %s or %s, or leave it out", PolicyEphemeral, PolicyReuseByEnvironment, PolicyReuseByWorkspace, PolicyRetainOnFailure)
	}
	if keep := time.Duration(r.RetainForMs) * time.Millisecond; keep <= 0 || keep > MaxRetention {
		return domain.Refuse(domain.KindInvalid, "invalid_duration", "is not between 1ms and %s", MaxRetention).On("retainFor").
			Mend("give a duration such as %s, or leave it out", DefaultRetention)
	}
	return nil
}

// disposition is what becomes of the runtime when the lease ends for a reason; asked is what whoever ends it wants, "" for no
// wish.
func (s State) disposition(reason Reason, asked Disposition) (Disposition, error) {
	made := !s.AcquiredAt.IsZero() || s.Resuming
	switch asked {
	case DispositionDestroy:
		return asked, nil
	case DispositionKeepRunning, DispositionStopAndRetain:
		if s.Policy == PolicyEphemeral {
			return "", domain.Refuse(domain.KindConflict, "lease_ephemeral", "the runtime of an ephemeral lease is not kept").On("disposition").
				Mend("leave it out; to keep a runtime, acquire the lease with another leasePolicy")
		}
		if !made {
			return DispositionDestroy, nil
		}
		return asked, nil
	case "":
	default:
		return "", domain.Refuse(domain.KindInvalid, "unknown_disposition", "%q is not what becomes of a runtime", string(asked)).On("disposition").
			Mend("use %s, %s or %s, or leave it out", DispositionDestroy, DispositionKeepRunning, DispositionStopAndRetain)
	}
	switch {
	case s.Policy == PolicyRetainOnFailure && reason == ReasonFailed && made:
		return DispositionStopAndRetain, nil
	case s.reuses() && made:
		return DispositionKeepRunning, nil
	}
	return DispositionDestroy, nil
}

// Keeping reports whether the teardown under way is to keep the runtime.
func (s State) Keeping() bool { return s.End == StatusNone && s.Disposition.Keeps() }

// MayKeep reports whether runtimes of the policy may outlive their leases: what it asks of the provider.
func (p Policy) MayKeep() bool { return p != PolicyEphemeral }

func (s State) reuses() bool {
	return s.Policy == PolicyReuseByEnvironment || s.Policy == PolicyReuseByWorkspace
}

func pass(s State, c Pass) ([]Event, error) {
	switch {
	case s.Kept:
		return []Event{RuntimePassed(c)}, nil
	case s.PassedTo == c.To && !c.To.IsZero():
		return nil, nil
	}
	return nil, domain.Refuse(domain.KindConflict, "runtime_not_kept", "the lease keeps no runtime; it is %s", s.Status())
}

func endRetention(s State, c EndRetention) ([]Event, error) {
	if !s.Kept || c.Reason == RetentionExpired && c.Now.Before(s.KeptUntil) {
		return nil, nil
	}
	return []Event{RetentionEnded{Reason: c.Reason}}, nil
}

// retained is the state after the end of a lease that keeps its runtime.
func (s State) retained(e Retained, m domain.Meta) State {
	s.End, s.EndedAt, s.TearingDown = StatusRetained, m.At, false
	s.Kept, s.KeptUntil, s.Quarantined, s.TeardownFails = true, e.KeptUntil, false, 0
	s.TeardownFailed, s.TeardownCode, s.TeardownMessage = false, "", ""
	s.FailureCode, s.FailureMessage = "", ""
	return s
}

// failResuming is [failProvisioning] of an attempt to resume a kept runtime, which exists whatever became of the attempt. Only
// one that is certainly gone permits another; a lease that gives up keeps it for the next one.
func failResuming(s State, c FailProvisioning) ([]Event, error) {
	if s.ReleaseReason != "" {
		abandoned := ProvisioningAbandoned{Attempt: c.Attempt, Code: domain.CleanWord(c.Code), Gone: c.Gone}
		if c.Gone != "" {
			abandoned.NothingMade = true
			return []Event{abandoned, s.ending()}, nil
		}
		return []Event{abandoned}, nil
	}
	failed := ProvisioningFailed{
		Attempt: c.Attempt, Kind: FailureRetryable, Gone: c.Gone, Code: domain.CleanWord(c.Code), Step: domain.CleanWord(c.Step),
		Message: domain.Clean(c.Message, domain.MaxMessage), RetryAt: c.RetryAt, NothingMade: c.Gone != "",
	}
	if c.Gone != "" || c.RetryAt != nil {
		return []Event{failed}, nil
	}
	until := c.Now.Add(s.RetainFor)
	failed.Kind = FailureAmbiguous
	return []Event{failed, Failed{Code: failed.Code, Message: failed.Message, CleanupPending: true, KeptUntil: &until}}, nil
}

// goneBy is the bad end of an attempt to resume a runtime that will never be back: the next attempt makes another one.
func goneBy(s State, reason GoneReason) State {
	s.Resuming, s.Runtime, s.ProviderLeaseID, s.Metadata = false, domain.RuntimeID{}, nil, nil
	s.MaybeMade, s.CleanupNeeded, s.Replaces = false, false, string(reason)
	return s
}
