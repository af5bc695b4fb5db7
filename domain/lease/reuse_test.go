package lease_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/lease"
)

var (
	former   = domaintest.ID[domain.LeaseID](31)
	next     = domaintest.ID[domain.LeaseID](32)
	keptID   = domaintest.ID[domain.RuntimeID](33)
	name     = "box-1"
	resume   = &lease.Resume{Lease: former, Runtime: keptID, ProviderLeaseID: &name, Metadata: []byte(`{"a":1}`)}
	resuming = lease.ProvisioningStarted{
		Attempt: 1, Runtime: keptID, Worker: worker, Deadline: later, Fingerprint: "f", Resumes: former,
		ProviderLeaseID: &name, Metadata: []byte(`{"a":1}`),
	}
)

// under is a request with a policy.
func under(policy lease.Policy) lease.Requested {
	r := domaintest.LeaseRequested()
	r.Policy, r.RetainForMs = policy, time.Hour.Milliseconds()
	return r
}

func TestThePolicyDecidesWhatBecomesOfTheRuntime(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		policy lease.Policy
		reason lease.Reason
		want   lease.Disposition
	}{
		{lease.PolicyEphemeral, lease.ReasonReleased, ""},
		{lease.PolicyEphemeral, lease.ReasonFailed, ""},
		{lease.PolicyReuseByEnvironment, lease.ReasonReleased, lease.DispositionKeepRunning},
		{lease.PolicyReuseByEnvironment, lease.ReasonExpired, lease.DispositionKeepRunning},
		{lease.PolicyReuseByWorkspace, lease.ReasonFailed, lease.DispositionKeepRunning},
		{lease.PolicyRetainOnFailure, lease.ReasonReleased, ""},
		{lease.PolicyRetainOnFailure, lease.ReasonExpired, ""},
		{lease.PolicyRetainOnFailure, lease.ReasonFailed, lease.DispositionStopAndRetain},
	} {
		given(t, under(x.policy), granted, started, provisioned).
			When(lease.Release{Reason: x.reason}).Then(lease.ReleaseRequested{Reason: x.reason, Disposition: x.want})
		// One that is half made is of no use to anybody.
		given(t, under(x.policy), granted, started).
			When(lease.Release{Reason: x.reason}).Then(lease.ReleaseRequested{Reason: x.reason})
	}
	reused := given(t, under(lease.PolicyReuseByEnvironment), granted, started, provisioned)
	reused.When(lease.Release{Reason: lease.ReasonReleased, Disposition: lease.DispositionDestroy}).Then(lease.ReleaseRequested{Reason: lease.ReasonReleased})
	reused.When(lease.Release{Reason: lease.ReasonReleased, Disposition: lease.DispositionStopAndRetain}).
		Then(lease.ReleaseRequested{Reason: lease.ReasonReleased, Disposition: lease.DispositionStopAndRetain})
	reused.When(lease.Release{Reason: lease.ReasonReleased, Disposition: "freeze"}).Refused(domain.KindInvalid, "unknown_disposition", "disposition")
	at(t, lease.StatusActive).When(lease.Release{Reason: lease.ReasonReleased, Disposition: lease.DispositionKeepRunning}).
		Refused(domain.KindConflict, "lease_ephemeral", "disposition")
}

// Whoever released it would have to know what there is: an attempt that has no answer may have made a runtime of whatever name.
func TestARuntimeThatNobodyKnowsYetIsNotKept(t *testing.T) {
	t.Parallel()
	for _, wish := range []lease.Disposition{lease.DispositionKeepRunning, lease.DispositionStopAndRetain} {
		given(t, under(lease.PolicyReuseByEnvironment), granted, started).When(lease.Release{Reason: lease.ReasonFailed, Disposition: wish}).
			Then(lease.ReleaseRequested{Reason: lease.ReasonFailed})
	}
}

// retained is a lease that keeps its runtime until an hour past noon.
func retained(t *testing.T) scenario {
	t.Helper()
	toKeep := lease.ReleaseRequested{Reason: lease.ReasonReleased, Disposition: lease.DispositionKeepRunning}
	return given(t, under(lease.PolicyReuseByEnvironment), granted, started, provisioned, toKeep, teardown, tornBadly).
		When(lease.StartRelease{Worker: worker, Now: later, Deadline: later.Add(time.Minute)}).
		Then(lease.ReleaseStarted{Attempt: 2, Worker: worker, Deadline: later.Add(time.Minute)}).
		When(lease.FinishRelease{Attempt: 2, Worker: worker, Kept: true, Now: noon}).
		Then(lease.Retained{Disposition: lease.DispositionKeepRunning, KeptUntil: noon.Add(time.Hour)})
}

func TestARetainedLeaseAnswersForItsRuntimeUntilItIsPassedOn(t *testing.T) {
	t.Parallel()
	kept := retained(t)
	require.Equal(t, lease.StatusRetained, kept.State().Status())
	require.True(t, kept.State().HoldsSlot())
	require.False(t, kept.State().NeedsTeardown())
	require.Equal(t, lease.CleanupNone, kept.State().CleanupStatus())
	kept.When(lease.Renew{Now: noon}).Refused(domain.KindGone, "lease_ended", "")
	kept.When(lease.Release{Reason: lease.ReasonReleased}).Nothing()
	kept.When(lease.StartRelease{Worker: worker, Now: noon}).Refused(domain.KindStale, "stale_claim", "")

	passed := kept.When(lease.Pass{To: next}).Then(lease.RuntimePassed{To: next})
	require.False(t, passed.State().HoldsSlot())
	require.False(t, passed.State().NeedsTeardown())
	passed.When(lease.Pass{To: next}).Nothing()
	passed.When(lease.Pass{To: former}).Refused(domain.KindConflict, "runtime_not_kept", "")
	passed.When(lease.EndRetention{Reason: lease.RetentionExpired, Now: noon.Add(24 * time.Hour)}).Nothing()
	at(t, lease.StatusActive).When(lease.Pass{To: next}).Refused(domain.KindConflict, "runtime_not_kept", "")
}

func TestAKeptRuntimeGoesWhenItsTimeIsOverOrItIsAskedTo(t *testing.T) {
	t.Parallel()
	kept := retained(t)
	kept.When(lease.EndRetention{Reason: lease.RetentionExpired, Now: noon.Add(time.Hour - 1)}).Nothing()
	over := kept.When(lease.EndRetention{Reason: lease.RetentionExpired, Now: noon.Add(time.Hour)}).
		Then(lease.RetentionEnded{Reason: lease.RetentionExpired})
	require.True(t, over.State().NeedsTeardown())
	require.True(t, over.State().HoldsSlot())
	require.Equal(t, lease.CleanupPending, over.State().CleanupStatus())
	over.When(lease.Pass{To: next}).Refused(domain.KindConflict, "runtime_not_kept", "")
	gone := over.When(lease.StartRelease{Worker: worker, Now: later, Deadline: later}).Then(lease.ReleaseStarted{Attempt: 3, Worker: worker, Deadline: later}).
		When(lease.FinishRelease{Attempt: 3, Worker: worker}).Then(lease.CleanupCompleted{})
	require.Equal(t, lease.StatusRetained, gone.State().Status())
	require.False(t, gone.State().HoldsSlot())

	kept.When(lease.EndRetention{Reason: lease.RetentionEvicted}).Then(lease.RetentionEnded{Reason: lease.RetentionEvicted})
	kept.When(lease.Release{Reason: lease.ReasonReleased, Disposition: lease.DispositionDestroy}).
		Then(lease.RetentionEnded{Reason: lease.RetentionReleased})
}

func TestAnAttemptResumesAKeptRuntime(t *testing.T) {
	t.Parallel()
	s := given(t, under(lease.PolicyReuseByEnvironment), lease.Granted{Slot: 2, From: former}).
		When(lease.StartProvisioning{Runtime: domaintest.Runtime, Worker: worker, Now: noon, Deadline: later, Fingerprint: "f", Resume: resume}).
		Then(resuming)
	require.True(t, s.State().Resuming)
	require.True(t, s.State().CleanupNeeded)
	s = s.When(lease.Provision{Attempt: 1, Worker: worker, ProviderLeaseID: &name, Acquisition: lease.AcquisitionCreated, Now: noon}).
		Then(lease.Provisioned{
			Attempt: 1, Runtime: keptID, ProviderLeaseID: &name, Acquisition: lease.AcquisitionResumed,
			HardExpiresAt: noon.Add(24 * time.Hour), ExpiresAt: noon.Add(time.Hour),
		})
	require.False(t, s.State().Resuming)
}

func TestTroubleWithResumingIsTriedAgainAndDestroysNothing(t *testing.T) {
	t.Parallel()
	facts := []lease.Event{under(lease.PolicyReuseByEnvironment), lease.Granted{Slot: 2, From: former}, resuming}
	fail := lease.FailProvisioning{Attempt: 1, Worker: worker, Kind: lease.FailureRetryable, Code: "host_unreachable", Message: "m", RetryAt: &retryAt, Now: noon}
	s := given(t, facts...).When(fail).
		Then(lease.ProvisioningFailed{Attempt: 1, Kind: lease.FailureRetryable, Code: "host_unreachable", Message: "m", RetryAt: &retryAt})
	again := resuming
	again.Attempt = 2
	s.When(lease.StartProvisioning{Runtime: domaintest.Runtime, Worker: worker, Now: later, Deadline: later, Fingerprint: "f"}).Then(again)

	for _, kind := range []lease.FailureKind{lease.FailureRetryable, lease.FailureDefinite, lease.FailureAmbiguous} {
		fail.Kind, fail.RetryAt = kind, nil
		until := noon.Add(time.Hour)
		up := given(t, facts...).When(fail).Then(
			lease.ProvisioningFailed{Attempt: 1, Kind: lease.FailureAmbiguous, Code: "host_unreachable", Message: "m"},
			lease.Failed{Code: "host_unreachable", Message: "m", CleanupPending: true, KeptUntil: &until},
		)
		require.True(t, up.State().Kept)
		require.False(t, up.State().NeedsTeardown())
		require.Equal(t, lease.StatusFailed, up.State().Status())
		up.When(lease.Pass{To: next}).Then(lease.RuntimePassed{To: next})
	}

	released := given(t, facts...).When(lease.Release{Reason: lease.ReasonReleased}).
		Then(lease.ReleaseRequested{Reason: lease.ReasonReleased, Disposition: lease.DispositionKeepRunning})
	fail.Kind = lease.FailureRetryable
	released = released.When(fail).Then(lease.ProvisioningAbandoned{Attempt: 1, Code: "host_unreachable"})
	require.True(t, released.State().NeedsTeardown())
	require.Equal(t, &name, released.State().ProviderLeaseID)
	given(t, facts...).When(lease.Cancel{Reason: "r"}).
		Then(lease.ReleaseRequested{Reason: lease.ReasonCanceled, Message: "r", Disposition: lease.DispositionKeepRunning})
}

func TestOnlyARuntimeThatIsCertainlyGoneIsReplaced(t *testing.T) {
	t.Parallel()
	facts := []lease.Event{under(lease.PolicyReuseByEnvironment), lease.Granted{Slot: 2, From: former}, resuming}
	for _, why := range []lease.GoneReason{lease.GoneAbsent, lease.GoneMismatch} {
		gone := lease.FailProvisioning{Attempt: 1, Worker: worker, Code: string(why), Message: "m", RetryAt: &retryAt, Gone: why, Now: noon}
		s := given(t, facts...).When(gone).Then(lease.ProvisioningFailed{
			Attempt: 1, Kind: lease.FailureRetryable, NothingMade: true, Gone: why, Code: string(why), Message: "m", RetryAt: &retryAt,
		})
		require.False(t, s.State().CleanupNeeded)
		s = s.When(lease.StartProvisioning{Runtime: domaintest.Runtime, Worker: worker, Now: later, Deadline: later, Fingerprint: "f"}).
			Then(lease.ProvisioningStarted{Attempt: 2, Runtime: domaintest.Runtime, Worker: worker, Deadline: later, Fingerprint: "f"})
		s.When(lease.Provision{Attempt: 2, Worker: worker, Acquisition: lease.AcquisitionCreated, Now: noon}).Then(lease.Provisioned{
			Attempt: 2, Runtime: domaintest.Runtime, Acquisition: lease.AcquisitionReplacement, AcquisitionReason: string(why),
			HardExpiresAt: noon.Add(24 * time.Hour), ExpiresAt: noon.Add(time.Hour),
		})
		given(t, append(facts, lease.ReleaseRequested{Reason: lease.ReasonReleased, Disposition: lease.DispositionKeepRunning})...).When(gone).Then(
			lease.ProvisioningAbandoned{Attempt: 1, Code: string(why), NothingMade: true, Gone: why}, lease.Released{})
	}
}

func TestARuntimeOfAnotherMakeIsReplacedWithAReason(t *testing.T) {
	t.Parallel()
	s := given(t, under(lease.PolicyReuseByEnvironment), lease.Granted{Slot: 2, From: former}).
		When(lease.StartProvisioning{
			Runtime: domaintest.Runtime, Worker: worker, Now: noon, Deadline: later, Fingerprint: "g", Replaces: string(lease.RetentionDrift),
		}).
		Then(lease.ProvisioningStarted{
			Attempt: 1, Runtime: domaintest.Runtime, Worker: worker, Deadline: later, Fingerprint: "g", Replaces: string(lease.RetentionDrift),
		})
	s.When(lease.Provision{Attempt: 1, Worker: worker, Acquisition: lease.AcquisitionCreated, Now: noon}).Then(lease.Provisioned{
		Attempt: 1, Runtime: domaintest.Runtime, Acquisition: lease.AcquisitionReplacement, AcquisitionReason: "lease_fingerprint_mismatch",
		HardExpiresAt: noon.Add(24 * time.Hour), ExpiresAt: noon.Add(time.Hour),
	})
}

func TestTheScopeIsExact(t *testing.T) {
	t.Parallel()
	base := under(lease.PolicyReuseByWorkspace)
	for what, change := range map[string]func(*lease.Requested){
		"provider":  func(r *lease.Requested) { r.Provider = "other" },
		"agent":     func(r *lease.Requested) { r.Context.Agent = "other" },
		"adapter":   func(r *lease.Requested) { r.Context.Adapter = "other" },
		"workspace": func(r *lease.Requested) { r.Context.Workspace = "other" },
		"issue instead of workspace": func(r *lease.Requested) {
			r.Context.Workspace, r.Context.Issue = "", r.Context.Workspace
		},
		"policy": func(r *lease.Requested) { r.Policy = lease.PolicyReuseByEnvironment },
	} {
		r := base
		change(&r)
		require.NotEqual(t, base.Scope(), r.Scope(), what)
	}
	// No value may look like two.
	a, b := base, base
	a.Context.Agent, a.Context.Adapter = `x" adapter="y`, "z"
	b.Context.Agent, b.Context.Adapter = "x", `y" adapter="z`
	require.NotEqual(t, a.Scope(), b.Scope())
	issue := base
	issue.Context.Issue = "other"
	require.Equal(t, base.Scope(), issue.Scope(), "the workspace says more")
	require.Empty(t, under(lease.PolicyEphemeral).Scope())
	require.Empty(t, under(lease.PolicyRetainOnFailure).Scope(), "what is kept to be looked at is nobody's")
}

func TestABadPolicyIsRefused(t *testing.T) {
	t.Parallel()
	refused := func(field, code string, change func(*lease.Requested)) {
		t.Helper()
		r := under(lease.PolicyReuseByWorkspace)
		change(&r)
		given(t).When(lease.Request{Requested: r}).Refused(domain.KindInvalid, code, field)
	}
	refused("leasePolicy", "unknown_lease_policy", func(r *lease.Requested) { r.Policy = "forever" })
	refused("executionWorkspaceId", "missing_field", func(r *lease.Requested) { r.Context.Workspace, r.Context.Issue = "", "" })
	refused("retainFor", "invalid_duration", func(r *lease.Requested) { r.RetainForMs = 0 })
	refused("retainFor", "invalid_duration", func(r *lease.Requested) { r.RetainForMs = -1 })
	refused("retainFor", "invalid_duration", func(r *lease.Requested) { r.RetainForMs = lease.MaxRetention.Milliseconds() + 1 })
}
