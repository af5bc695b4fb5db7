package lease_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
)

func TestOnlyAnActiveLeaseCanBeUsed(t *testing.T) {
	t.Parallel()
	refused := func(err error, kind domain.Kind) {
		t.Helper()
		var r *domain.Refusal
		require.ErrorAs(t, err, &r)
		require.Equal(t, kind, r.Kind)
		require.NotEmpty(t, r.Remediation)
	}
	require.NoError(t, at(t, lease.StatusActive).State().CheckUsable(noon, nil))
	refused(at(t, lease.StatusActive).State().CheckUsable(provisioned.ExpiresAt, nil), domain.KindGone)
	for _, status := range []lease.Status{lease.StatusNone, lease.StatusRequested, lease.StatusGranted, lease.StatusProvisioning} {
		refused(at(t, status).State().CheckUsable(noon, nil), domain.KindConflict)
	}
	for _, status := range except(lease.StatusRequested, lease.StatusGranted, lease.StatusProvisioning, lease.StatusActive) {
		refused(at(t, status).State().CheckUsable(noon, nil), domain.KindGone)
	}
}

func TestALeaseIsReleasedFromWhereverItIs(t *testing.T) {
	t.Parallel()
	release := lease.Release{Reason: lease.ReasonFailed, Message: "tests failed"}
	asked := lease.ReleaseRequested{Reason: lease.ReasonFailed, Message: "tests failed"}
	for _, status := range known {
		s := at(t, status)
		switch status {
		case lease.StatusRequested, lease.StatusGranted:
			after := s.When(release).Then(lease.Canceled{Reason: "failed"})
			require.False(t, after.State().HoldsSlot())
		case lease.StatusProvisioning, lease.StatusActive:
			s.When(release).Then(asked).When(release).Nothing()
		default:
			s.When(release).Nothing()
		}
	}
}

func TestAReleaseSaysHowTheLeaseEnds(t *testing.T) {
	t.Parallel()
	active := at(t, lease.StatusActive)
	active.When(lease.Release{}).Refused(domain.KindInvalid, "unknown_reason", "status")
	active.When(lease.Release{Reason: "lost"}).Refused(domain.KindInvalid, "unknown_reason", "status")
	active.When(lease.Release{Reason: lease.ReasonFailed, Message: "\x00"}).Refused(domain.KindInvalid, "invalid_text", "message")

	for reason, want := range map[lease.Reason]lease.Event{
		lease.ReasonReleased: lease.Released{},
		lease.ReasonExpired:  lease.Expired{},
		lease.ReasonFailed:   lease.Failed{Code: "run_failed", Message: "why"},
		lease.ReasonCanceled: lease.Canceled{Reason: "why"},
	} {
		s := active.When(lease.Release{Reason: reason, Message: "why"}).Then(lease.ReleaseRequested{Reason: reason, Message: "why"}).
			When(lease.StartRelease{Worker: worker, Now: noon, Deadline: later}).Then(teardown).
			When(lease.FinishRelease{Attempt: 1, Worker: worker}).Then(want)
		require.True(t, s.State().Status().Ended(), reason)
		require.False(t, s.State().HoldsSlot(), reason)
		require.False(t, s.State().NeedsTeardown(), reason)
		require.Equal(t, lease.CleanupSuccess, s.State().CleanupStatus(), reason)
	}
}

func TestOnlyWhatMayExistIsTornDown(t *testing.T) {
	t.Parallel()
	claim := lease.StartRelease{Worker: worker, Now: later, Deadline: later}
	for _, status := range except(lease.StatusReleasing, lease.StatusPendingCleanup, lease.StatusFailed) {
		at(t, status).When(claim).Refused(domain.KindStale, "stale_claim", "")
	}
	at(t, lease.StatusReleasing).When(claim).Then(teardown)
	at(t, lease.StatusFailed).When(claim).Then(teardown)
}

func TestAnOpenTeardownIsTakenOverOnlyFromTheDead(t *testing.T) {
	t.Parallel()
	open := given(t, requestedFacts(provisioned, toRelease, teardown)...)
	claim := func(w domain.WorkerID, now time.Time, dead bool) lease.StartRelease {
		return lease.StartRelease{Worker: w, Now: now, Deadline: later, WorkerDead: dead}
	}
	open.When(claim(other, noon, false)).Refused(domain.KindStale, "stale_claim", "")
	open.When(claim(other, later, false)).Refused(domain.KindStale, "stale_claim", "")
	open.When(claim(worker, noon, false)).Refused(domain.KindStale, "stale_claim", "")
	open.When(claim(worker, later, false)).Then(lease.ReleaseStarted{Attempt: 2, Worker: worker, Deadline: later})
	open.When(claim(other, noon, true)).Then(lease.ReleaseStarted{Attempt: 2, Worker: other, Deadline: later}).
		When(lease.FinishRelease{Attempt: 1, Worker: worker}).Refused(domain.KindStale, "stale_claim", "")
}

func TestATeardownEndsTheAttemptThatADeadWorkerLeftOpen(t *testing.T) {
	t.Parallel()
	asked := given(t, append(requestedFacts(), toRelease)...)
	claim := lease.StartRelease{Worker: other, Now: noon, Deadline: later}
	asked.When(claim).Refused(domain.KindStale, "stale_claim", "")
	abandoned := lease.ProvisioningAbandoned{Attempt: 1, Code: "worker_gone"}
	byOther := lease.ReleaseStarted{Attempt: 1, Worker: other, Deadline: later}
	dead := claim
	dead.WorkerDead = true
	asked.When(dead).Then(abandoned, byOther)
	overdue := claim
	overdue.Now = later
	asked.When(overdue).Then(abandoned, byOther).
		When(lease.Provision{Attempt: 1, Worker: worker, Now: later}).Refused(domain.KindStale, "stale_claim", "")
}

func TestAFailedTeardownIsTriedAgainAfterItsTime(t *testing.T) {
	t.Parallel()
	s := given(t, requestedFacts(provisioned, toRelease, teardown)...).
		When(lease.FailRelease{Attempt: 1, Worker: worker, Code: "busy", Message: "in use", RetryAt: later}).Then(tornBadly)
	require.Equal(t, lease.StatusPendingCleanup, s.State().Status())
	s.When(lease.StartRelease{Worker: other, Now: noon}).Refused(domain.KindStale, "stale_claim", "")
	s.When(lease.StartRelease{Worker: other, Now: later, Deadline: later}).
		Then(lease.ReleaseStarted{Attempt: 2, Worker: other, Deadline: later}).
		When(lease.FinishRelease{Attempt: 2, Worker: other}).Then(lease.Released{})
}

func TestWhatAFailedLeaseLeftIsCleanedUpAndItStaysFailed(t *testing.T) {
	t.Parallel()
	s := at(t, lease.StatusFailed).
		When(lease.StartRelease{Worker: worker, Now: noon, Deadline: later}).Then(teardown).
		When(lease.FailRelease{Attempt: 1, Worker: worker, Code: "busy", Message: "in use\xff", RetryAt: later}).
		Then(lease.ReleaseFailed{Attempt: 1, Code: "busy", Message: "in use\uFFFD", RetryAt: later})
	require.Equal(t, lease.StatusFailed, s.State().Status())
	require.True(t, s.State().HoldsSlot())
	s = s.When(lease.StartRelease{Worker: worker, Now: later, Deadline: later}).
		Then(lease.ReleaseStarted{Attempt: 2, Worker: worker, Deadline: later}).
		When(lease.FinishRelease{Attempt: 2, Worker: worker}).Then(lease.CleanupCompleted{})
	require.Equal(t, lease.StatusFailed, s.State().Status())
	require.Equal(t, lease.CleanupSuccess, s.State().CleanupStatus())
	require.False(t, s.State().HoldsSlot())
}

func TestAResultOfAnotherTeardownOrWorkerIsStale(t *testing.T) {
	t.Parallel()
	open := given(t, requestedFacts(provisioned, toRelease, teardown)...)
	for _, c := range []lease.Command{
		lease.FinishRelease{Attempt: 2, Worker: worker}, lease.FinishRelease{Attempt: 1, Worker: other},
		lease.FailRelease{Attempt: 2, Worker: worker}, lease.FailRelease{Attempt: 1, Worker: other},
	} {
		open.When(c).Refused(domain.KindStale, "stale_claim", "")
	}
	for _, status := range known {
		at(t, status).When(lease.FinishRelease{Attempt: 1, Worker: worker}).Refused(domain.KindStale, "stale_claim", "")
		at(t, status).When(lease.FailRelease{Attempt: 1, Worker: worker}).Refused(domain.KindStale, "stale_claim", "")
	}
}

func TestATeardownThatFailsDoesNotHideWhyTheLeaseFailed(t *testing.T) {
	t.Parallel()
	s := given(t, requestedFacts(retryable, failed, teardown, tornBadly)...).State()
	require.Equal(t, "c", s.FailureCode)
	require.Equal(t, "m", s.FailureMessage)
	require.Equal(t, "busy", s.TeardownCode)
	require.Equal(t, "in use", s.TeardownMessage)
}
