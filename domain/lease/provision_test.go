package lease_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/lease"
)

func start(w domain.WorkerID, now time.Time) lease.StartProvisioning {
	return lease.StartProvisioning{Runtime: domaintest.Runtime, Worker: w, Now: now, Deadline: later}
}

func TestAGrantedLeaseIsProvisioned(t *testing.T) {
	t.Parallel()
	provider := "p"
	s := at(t, lease.StatusGranted).When(start(worker, noon)).Then(started)
	require.True(t, s.State().Attempting)
	require.Equal(t, lease.CleanupPending, s.State().CleanupStatus(), "from here on something may exist outside")
	want := provisioned
	want.ProviderLeaseID, want.Metadata = &provider, json.RawMessage(`{"driver":"local"}`)
	s = s.When(lease.Provision{
		Attempt: 1, Worker: worker, ProviderLeaseID: &provider, Metadata: want.Metadata, Acquisition: lease.AcquisitionCreated, Now: noon,
	}).Then(want)
	require.Equal(t, lease.StatusActive, s.State().Status())
	require.False(t, s.State().Attempting)
	require.True(t, s.State().HoldsSlot())
}

func TestTheEarlierOfTTLAndIdleTimeoutEndsALease(t *testing.T) {
	t.Parallel()
	short := domaintest.LeaseRequested()
	short.TTLMs = 60_000
	want := provisioned
	want.HardExpiresAt, want.ExpiresAt = noon.Add(time.Minute), noon.Add(time.Minute)
	given(t, short, granted, started).
		When(lease.Provision{Attempt: 1, Worker: worker, Acquisition: lease.AcquisitionCreated, Now: noon}).Then(want)
}

func TestOnlyAGrantedLeaseIsProvisioned(t *testing.T) {
	t.Parallel()
	for _, status := range except(lease.StatusGranted, lease.StatusProvisioning) {
		at(t, status).When(start(worker, noon)).Refused(domain.KindStale, "stale_claim", "")
	}
}

func TestAnOpenAttemptIsTakenOverOnlyFromTheDead(t *testing.T) {
	t.Parallel()
	open := at(t, lease.StatusProvisioning)
	open.When(start(other, noon)).Refused(domain.KindStale, "stale_claim", "")
	open.When(start(other, later.Add(time.Hour))).Refused(domain.KindStale, "stale_claim", "")
	open.When(start(worker, noon)).Refused(domain.KindStale, "stale_claim", "")

	takeover := start(other, noon)
	takeover.WorkerDead = true
	takeover.Runtime = domaintest.ID[domain.RuntimeID](77)
	taken := open.When(takeover).Then(lease.ProvisioningStarted{Attempt: 2, Runtime: domaintest.Runtime, Worker: other, Deadline: later})
	require.True(t, taken.State().MaybeMade)
	taken.When(lease.Provision{Attempt: 1, Worker: worker, Now: noon}).Refused(domain.KindStale, "stale_claim", "")

	open.When(start(worker, later)).Then(lease.ProvisioningStarted{Attempt: 2, Runtime: domaintest.Runtime, Worker: worker, Deadline: later})
}

func TestAFailedAttemptIsRetriedAfterItsTimeWithTheSameRuntime(t *testing.T) {
	t.Parallel()
	s := at(t, lease.StatusProvisioning).When(lease.FailProvisioning{
		Attempt: 1, Worker: worker, Kind: lease.FailureRetryable, Code: "c", Message: "m", RetryAt: &retryAt,
	}).Then(retryable)
	require.Equal(t, lease.StatusProvisioning, s.State().Status())
	s.When(start(other, noon)).Refused(domain.KindStale, "stale_claim", "")
	next := start(other, later)
	next.Runtime = domaintest.ID[domain.RuntimeID](77)
	s.When(next).Then(lease.ProvisioningStarted{Attempt: 2, Runtime: domaintest.Runtime, Worker: other, Deadline: later})
}

func TestAFailureWithoutARetryEndsTheLease(t *testing.T) {
	t.Parallel()
	for kind, pending := range map[lease.FailureKind]bool{
		lease.FailureDefinite: false, lease.FailureAmbiguous: true, lease.FailureRetryable: true,
	} {
		s := at(t, lease.StatusProvisioning).
			When(lease.FailProvisioning{Attempt: 1, Worker: worker, Kind: kind, Code: "c", Step: "s", Message: "m\x00"}).
			Then(
				lease.ProvisioningFailed{Attempt: 1, Kind: kind, Code: "c", Step: "s", Message: "m\uFFFD"},
				lease.Failed{Code: "c", Message: "m\uFFFD", CleanupPending: pending},
			)
		require.Equal(t, lease.StatusFailed, s.State().Status())
		require.Equal(t, pending, s.State().NeedsTeardown(), kind)
		require.Equal(t, pending, s.State().HoldsSlot(), kind)
		require.Equal(t, pending, s.State().CleanupStatus() == lease.CleanupPending, kind)
	}
}

// A first attempt whose reply was lost may have made the runtime. That the second found nothing of its own to keep does
// not say that the first made nothing.
func TestADefiniteFailureDoesNotTakeBackWhatAnEarlierAttemptMayHaveMade(t *testing.T) {
	t.Parallel()
	second := lease.ProvisioningStarted{Attempt: 2, Runtime: domaintest.Runtime, Worker: other, Deadline: later}
	definite := lease.FailProvisioning{Attempt: 2, Worker: other, Kind: lease.FailureDefinite, Code: "c", Message: "m"}
	for name, facts := range map[string][]lease.Event{
		"retried":    {domaintest.LeaseRequested(), granted, started, retryable, second},
		"taken over": {domaintest.LeaseRequested(), granted, started, second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := given(t, facts...).When(definite).Then(
				lease.ProvisioningFailed{Attempt: 2, Kind: lease.FailureDefinite, Code: "c", Message: "m"},
				lease.Failed{Code: "c", Message: "m", CleanupPending: true})
			require.True(t, s.State().NeedsTeardown())
		})
	}
}

func TestAResultOfAnotherAttemptOrWorkerIsStale(t *testing.T) {
	t.Parallel()
	open := at(t, lease.StatusProvisioning)
	for _, c := range []lease.Command{
		lease.Provision{Attempt: 2, Worker: worker, Now: noon}, lease.Provision{Attempt: 1, Worker: other, Now: noon},
		lease.FailProvisioning{Attempt: 2, Worker: worker}, lease.FailProvisioning{Attempt: 1, Worker: other},
	} {
		open.When(c).Refused(domain.KindStale, "stale_claim", "")
	}
	for _, status := range except(lease.StatusProvisioning) {
		at(t, status).When(lease.Provision{Attempt: 1, Worker: worker, Now: noon}).Refused(domain.KindStale, "stale_claim", "")
		at(t, status).When(lease.FailProvisioning{Attempt: 1, Worker: worker}).Refused(domain.KindStale, "stale_claim", "")
	}
}

func TestALeaseReleasedWhileItsRuntimeIsMadeNeverBecomesActive(t *testing.T) {
	t.Parallel()
	asked := at(t, lease.StatusProvisioning).When(lease.Release{Reason: lease.ReasonReleased}).Then(toRelease)
	for _, done := range []domaintest.Scenario[lease.State, lease.Command, lease.Event]{
		asked.When(lease.Provision{Attempt: 1, Worker: worker, Now: noon}).
			Then(lease.ProvisioningAbandoned{Attempt: 1, Code: "release_requested"}),
		asked.When(lease.FailProvisioning{Attempt: 1, Worker: worker, Kind: lease.FailureRetryable, Code: "c"}).
			Then(lease.ProvisioningAbandoned{Attempt: 1, Code: "c"}),
	} {
		require.Equal(t, lease.StatusReleasing, done.State().Status())
		done.When(lease.StartRelease{Worker: worker, Now: noon, Deadline: later}).Then(teardown).
			When(lease.FinishRelease{Attempt: 1, Worker: worker}).Then(lease.Released{})
	}
}

// What was never asked for needs nobody who takes it down: it could not be found, and its slot would be held for ever.
func TestAnAttemptThatMadeNothingLeavesNothing(t *testing.T) {
	t.Parallel()
	fail := lease.FailProvisioning{
		Attempt: 1, Worker: worker, Kind: lease.FailureRetryable, NothingMade: true, Code: "c", Message: "m", RetryAt: &retryAt,
	}
	fact := retryable
	fact.NothingMade = true
	waiting := at(t, lease.StatusProvisioning).When(fail).Then(fact)
	waiting.When(lease.Cancel{Reason: "why"}).Then(lease.Canceled{Reason: "why"})
	ended := waiting.When(lease.Release{Reason: lease.ReasonReleased}).Then(lease.Canceled{Reason: "released"})
	require.False(t, ended.State().HoldsSlot())

	fail.RetryAt, fact.RetryAt = nil, nil
	gaveUp := at(t, lease.StatusProvisioning).When(fail).Then(fact, lease.Failed{Code: "c", Message: "m"})
	require.False(t, gaveUp.State().HoldsSlot())
	require.Equal(t, lease.CleanupNone, gaveUp.State().CleanupStatus())

	// An earlier attempt may have made something.
	second := lease.ProvisioningStarted{Attempt: 2, Runtime: domaintest.Runtime, Worker: worker, Deadline: later}
	fail.Attempt, fact.Attempt = 2, 2
	given(t, requestedFacts(retryable, second)...).When(fail).Then(fact, lease.Failed{Code: "c", Message: "m", CleanupPending: true})
}

func TestALeaseReleasedWhileAnAttemptMakesNothingEndsWithIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]lease.FailProvisioning{
		"definite":     {Attempt: 1, Worker: worker, Kind: lease.FailureDefinite, Code: "c"},
		"nothing made": {Attempt: 1, Worker: worker, Kind: lease.FailureRetryable, NothingMade: true, Code: "c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			abandoned := lease.ProvisioningAbandoned{Attempt: 1, Code: "c", NothingMade: true}
			for _, asked := range []struct {
				by  lease.Command
				end lease.Event
			}{
				{lease.Release{Reason: lease.ReasonReleased}, lease.Released{}},
				{lease.Release{Reason: lease.ReasonFailed, Message: "why"}, lease.Failed{Code: "run_failed", Message: "why"}},
				{lease.Cancel{Reason: "why"}, lease.Canceled{Reason: "why"}},
			} {
				s := at(t, lease.StatusProvisioning)
				facts, err := lease.Decider.Decide(s.State(), asked.by)
				require.NoError(t, err)
				done := s.When(asked.by).Then(facts...).When(c).Then(abandoned, asked.end)
				require.False(t, done.State().HoldsSlot())
				require.False(t, done.State().NeedsTeardown())
			}
		})
	}
}

func TestTheWordsOfADriverAreMadeFitForTheLog(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 10_000)
	s := at(t, lease.StatusProvisioning)
	facts, err := lease.Decider.Decide(s.State(), lease.FailProvisioning{
		Attempt: 1, Worker: worker, Kind: lease.FailureAmbiguous, Code: "a\x00" + long, Step: long, Message: long, ProviderLeaseID: &long,
	})
	require.NoError(t, err)
	got := facts[0].(lease.ProvisioningFailed)
	require.Len(t, []rune(got.Code), domain.MaxName)
	require.NotContains(t, got.Code, "\x00")
	require.Len(t, []rune(got.Step), domain.MaxName)
	require.Len(t, []rune(got.Message), domain.MaxMessage)
	require.Equal(t, &long, got.ProviderLeaseID, "a name that is cut names nothing")
}
