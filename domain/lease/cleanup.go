package lease

import "github.com/tenure-dev/tenure/domain"

// How a cleanup ends although it does not succeed by itself:
//
//	teardown fails ──► again after a back-off ──► the configured number failed ──► quarantined ──► again once in a long while
//	                          ▲                                                        │
//	                          └───────────────── a person asks for a retry ────────────┤
//	                                                                                   ▼
//	                             a person forces it: the lease ends, what may be left is on the list of leaks

// Quarantined says: the configured number of teardowns failed. What may be left is on the list of leaks, and it is tried
// only once in a long while, until a person asks for more.
type Quarantined struct {
	// Attempts is how many failed since the cleanup began, or since a person last asked for a retry.
	Attempts int `json:"attempts"`
	// Code is why the last of them did.
	Code string `json:"code"`
}

// CleanupRetryRequested says: a person wants the teardown tried at once, and as often as at first.
type CleanupRetryRequested struct{}

// CleanupForced says: a person gave up waiting. The lease ends with this, and its slot is free; that its runtime is gone is
// not claimed.
type CleanupForced struct {
	Reason string `json:"reason"`
}

// EventName is the event's name in the log.
func (Quarantined) EventName() string { return "LeaseQuarantined" }

// EventName is the event's name in the log.
func (CleanupRetryRequested) EventName() string { return "LeaseCleanupRetryRequested" }

// EventName is the event's name in the log.
func (CleanupForced) EventName() string { return "LeaseCleanupForced" }

func (Quarantined) leaseEvent()           {}
func (CleanupRetryRequested) leaseEvent() {}
func (CleanupForced) leaseEvent()         {}

// RetryCleanup asks for the teardown at once, also of a lease in quarantine.
type RetryCleanup struct{}

// ForceCleanup ends a lease whose runtime cannot be made or taken down, without a proof that the runtime is gone.
type ForceCleanup struct{ Reason string }

// ConfirmCleanup says that there is a proof that nothing is left of a lease whose teardown failed.
type ConfirmCleanup struct{}

func (RetryCleanup) leaseCommand()   {}
func (ForceCleanup) leaseCommand()   {}
func (ConfirmCleanup) leaseCommand() {}

// CleanupFailed says that what may be left is on the list of leaks.
const CleanupFailed CleanupStatus = "failed"

func retryCleanup(s State) ([]Event, error) {
	switch {
	case !s.NeedsTeardown():
		return nil, domain.Refuse(domain.KindConflict, "nothing_to_clean", "the lease is %s, and nothing is being taken down for it", s.Status()).
			Mend("see the lease: tenure lease show; a lease that is active is released instead")
	case s.TearingDown:
		return nil, nil
	}
	return []Event{CleanupRetryRequested{}}, nil
}

func forceCleanup(s State, c ForceCleanup) ([]Event, error) {
	if c.Reason == "" {
		return nil, domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("reason").
			Mend("say why it is given up; it goes into the history")
	}
	if err := domain.CheckText("reason", c.Reason, domain.MaxMessage); err != nil {
		return nil, err
	}
	forced := CleanupForced(c)
	switch {
	case s.Forced:
		return nil, nil
	case s.NeedsTeardown() && s.End != StatusNone:
		return []Event{forced}, nil
	case s.NeedsTeardown():
		return []Event{forced, s.endingForced(c)}, nil
	case s.Status() == StatusProvisioning && !s.nothingOutside():
		return []Event{forced, Failed{Code: "cleanup_forced", Message: c.Reason, CleanupPending: true}}, nil
	}
	return nil, domain.Refuse(domain.KindConflict, "not_stuck", "the lease is %s, and nothing stands in the way of its end", s.Status()).
		Mend("release or cancel it; force is for a lease whose runtime cannot be made or taken down")
}

// endingForced is how a lease ends by force: as it was to end, but never with the claim that nothing is left.
func (s State) endingForced(c ForceCleanup) Event {
	if s.ReleaseReason == ReasonFailed {
		return Failed{Code: "run_failed", Message: s.ReleaseMessage, CleanupPending: true}
	}
	if s.ReleaseReason == ReasonCanceled && s.ReleaseMessage == "" {
		return Canceled(c)
	}
	return s.ending()
}

func confirmCleanup(s State) ([]Event, error) {
	switch {
	case s.Cleaned || !s.CleanupNeeded:
		return nil, nil
	case s.Forced:
		return []Event{CleanupCompleted{}}, nil
	case !s.NeedsTeardown():
		return nil, stale("the lease is %s", s.Status())
	case s.Attempting || s.TearingDown:
		return nil, stale("a worker is at it")
	case s.End != StatusNone:
		return []Event{CleanupCompleted{}}, nil
	}
	return []Event{s.ending()}, nil
}
