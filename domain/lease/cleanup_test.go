package lease_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
)

// quarantined is a lease of which two teardowns failed, with a limit of two.
func quarantined(t *testing.T) scenario {
	t.Helper()
	second := lease.ReleaseStarted{Attempt: 2, Worker: worker, Deadline: later}
	again := lease.ReleaseFailed{Attempt: 2, Code: "busy", Message: "in use", RetryAt: later}
	return given(t, requestedFacts(provisioned, toRelease, teardown, tornBadly, second)...).
		When(lease.FailRelease{Attempt: 2, Worker: worker, Code: "busy", Message: "in use", RetryAt: later, Limit: 2}).
		Then(again, lease.Quarantined{Attempts: 2, Code: "busy"})
}

func TestALeaseThatCannotBeTakenDownGoesIntoQuarantineOnce(t *testing.T) {
	t.Parallel()
	s := quarantined(t)
	require.Equal(t, lease.StatusPendingCleanup, s.State().Status())
	require.Equal(t, lease.CleanupFailed, s.State().CleanupStatus())
	require.True(t, s.State().HoldsSlot())
	s.When(lease.StartRelease{Worker: worker, Now: noon, Deadline: later}).Refused(domain.KindStale, "stale_claim", "")
	third := lease.ReleaseStarted{Attempt: 3, Worker: worker, Deadline: later}
	tried := s.When(lease.StartRelease{Worker: worker, Now: later, Deadline: later}).Then(third)
	tried.When(lease.FailRelease{Attempt: 3, Worker: worker, Code: "busy", Message: "in use", RetryAt: later, Limit: 2}).
		Then(lease.ReleaseFailed{Attempt: 3, Code: "busy", Message: "in use", RetryAt: later})
	done := tried.When(lease.FinishRelease{Attempt: 3, Worker: worker}).Then(lease.Released{})
	require.Equal(t, lease.CleanupSuccess, done.State().CleanupStatus())
	require.False(t, done.State().HoldsSlot())
}

func TestWithoutALimitATeardownIsTriedForEver(t *testing.T) {
	t.Parallel()
	given(t, requestedFacts(provisioned, toRelease, teardown)...).
		When(lease.FailRelease{Attempt: 1, Worker: worker, Code: "busy", Message: "in use", RetryAt: later}).Then(tornBadly)
}

func TestARetryByHandStartsTheCleanupAnew(t *testing.T) {
	t.Parallel()
	s := quarantined(t).When(lease.RetryCleanup{}).Then(lease.CleanupRetryRequested{})
	require.Equal(t, lease.CleanupPending, s.State().CleanupStatus())
	require.Zero(t, s.State().TeardownFails)
	open := s.When(lease.StartRelease{Worker: worker, Now: noon, Deadline: later}).
		Then(lease.ReleaseStarted{Attempt: 3, Worker: worker, Deadline: later})
	open.When(lease.RetryCleanup{}).Nothing()
	at(t, lease.StatusReleasing).When(lease.RetryCleanup{}).Then(lease.CleanupRetryRequested{})
	at(t, lease.StatusFailed).When(lease.RetryCleanup{}).Then(lease.CleanupRetryRequested{})
	for _, status := range except(lease.StatusReleasing, lease.StatusPendingCleanup, lease.StatusFailed) {
		at(t, status).When(lease.RetryCleanup{}).Refused(domain.KindConflict, "nothing_to_clean", "")
	}
}

func TestForceEndsALeaseAndClaimsNothingOfItsRuntime(t *testing.T) {
	t.Parallel()
	force := lease.ForceCleanup{Reason: "the provider is gone"}
	forced := lease.CleanupForced{Reason: "the provider is gone"}
	s := quarantined(t).When(force).Then(forced, lease.Released{})
	require.Equal(t, lease.StatusReleased, s.State().Status())
	require.Equal(t, lease.CleanupFailed, s.State().CleanupStatus())
	require.False(t, s.State().HoldsSlot())
	require.False(t, s.State().NeedsTeardown())
	s.When(force).Nothing()
	s.When(lease.RetryCleanup{}).Refused(domain.KindConflict, "nothing_to_clean", "")
	s.When(lease.StartRelease{Worker: worker, Now: later.Add(time.Hour)}).Refused(domain.KindStale, "stale_claim", "")
	proven := s.When(lease.ConfirmCleanup{}).Then(lease.CleanupCompleted{})
	require.Equal(t, lease.CleanupSuccess, proven.State().CleanupStatus())
	proven.When(lease.ConfirmCleanup{}).Nothing()

	after := at(t, lease.StatusFailed).When(force).Then(forced)
	require.Equal(t, lease.StatusFailed, after.State().Status())
	require.False(t, after.State().HoldsSlot())
}

func TestForceEndsALeaseAsItWasToEnd(t *testing.T) {
	t.Parallel()
	force, forced := lease.ForceCleanup{Reason: "why"}, lease.CleanupForced{Reason: "why"}
	for reason, want := range map[lease.Reason]lease.Event{
		lease.ReasonReleased: lease.Released{},
		lease.ReasonExpired:  lease.Expired{},
		lease.ReasonFailed:   lease.Failed{Code: "run_failed", CleanupPending: true},
		lease.ReasonCanceled: lease.Canceled{Reason: "why"},
	} {
		s := given(t, requestedFacts(provisioned, lease.ReleaseRequested{Reason: reason}, teardown, tornBadly)...).When(force).Then(forced, want)
		require.True(t, s.State().Status().Ended(), reason)
		require.Equal(t, lease.CleanupFailed, s.State().CleanupStatus(), reason)
		require.False(t, s.State().HoldsSlot(), reason)
	}
}

func TestForceEndsALeaseWhoseProviderNeverAnswers(t *testing.T) {
	t.Parallel()
	force, forced := lease.ForceCleanup{Reason: "why"}, lease.CleanupForced{Reason: "why"}
	s := at(t, lease.StatusProvisioning).When(force).Then(forced, lease.Failed{Code: "cleanup_forced", Message: "why", CleanupPending: true})
	require.Equal(t, lease.StatusFailed, s.State().Status())
	require.False(t, s.State().HoldsSlot())
	s.When(lease.Provision{Attempt: 1, Worker: worker, Now: noon}).Refused(domain.KindStale, "stale_claim", "")
	asked := given(t, append(requestedFacts(), toRelease)...)
	asked.When(force).Then(forced, lease.Released{}).
		When(lease.Provision{Attempt: 1, Worker: worker, Now: noon}).Refused(domain.KindStale, "stale_claim", "")
}

func TestForceIsForWhatIsStuckAndNeedsAReason(t *testing.T) {
	t.Parallel()
	for _, status := range except(lease.StatusProvisioning, lease.StatusReleasing, lease.StatusPendingCleanup, lease.StatusFailed) {
		at(t, status).When(lease.ForceCleanup{Reason: "why"}).Refused(domain.KindConflict, "not_stuck", "")
	}
	at(t, lease.StatusPendingCleanup).When(lease.ForceCleanup{}).Refused(domain.KindInvalid, "missing_field", "reason")
	at(t, lease.StatusPendingCleanup).When(lease.ForceCleanup{Reason: "\x00"}).Refused(domain.KindInvalid, "invalid_text", "reason")
}

func TestAProofEndsACleanupThatNobodyIsAt(t *testing.T) {
	t.Parallel()
	quarantined(t).When(lease.ConfirmCleanup{}).Then(lease.Released{})
	at(t, lease.StatusPendingCleanup).When(lease.ConfirmCleanup{}).Then(lease.Released{})
	at(t, lease.StatusFailed).When(lease.ConfirmCleanup{}).Then(lease.CleanupCompleted{})
	given(t, requestedFacts(provisioned, toRelease, teardown)...).When(lease.ConfirmCleanup{}).Refused(domain.KindStale, "stale_claim", "")
	given(t, append(requestedFacts(), toRelease)...).When(lease.ConfirmCleanup{}).Refused(domain.KindStale, "stale_claim", "")
	at(t, lease.StatusActive).When(lease.ConfirmCleanup{}).Refused(domain.KindStale, "stale_claim", "")
	at(t, lease.StatusReleased).When(lease.ConfirmCleanup{}).Nothing()
}
