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
	here      = domaintest.Node
	elsewhere = domaintest.ID[domain.NodeID](98)
	lose      = lease.LoseNode{Node: here, Now: noon}
	forget    = lease.ForgetNode{Node: here}
	lost      = lease.NodeLost{Node: here}
	forgotten = lease.NodeForgotten{Node: here}
)

// bound is a lease whose runtime is on a node.
func bound(t *testing.T, facts ...lease.Event) scenario {
	t.Helper()
	on := started
	on.Node = here
	return given(t, append([]lease.Event{domaintest.LeaseRequested(), granted, on}, facts...)...)
}

func TestATeardownWaitsForALostNodeWithoutAnAttempt(t *testing.T) {
	t.Parallel()
	for _, facts := range [][]lease.Event{
		{provisioned, toRelease}, {provisioned, toRelease, teardown}, {provisioned, toRelease, teardown, tornBadly},
	} {
		s := bound(t, facts...)
		was := s.State()
		s = s.When(lose).Then(lost)
		now := s.State()
		require.Equal(t, lease.StatusPendingCleanup, now.Status())
		require.Equal(t, lease.CodeNodeLost, now.TeardownCode)
		require.Equal(t, lease.CleanupPending, now.CleanupStatus())
		require.True(t, now.Awaiting())
		require.True(t, now.HoldsSlot())
		require.Equal(t, was.Teardown, now.Teardown)
		require.Equal(t, was.TeardownFails, now.TeardownFails)
		s.When(lose).Nothing()
		s.When(lease.FinishRelease{Attempt: was.Teardown, Worker: worker}).Refused(domain.KindStale, "stale_claim", "")
		s.When(lease.StartRelease{Worker: worker, Node: elsewhere, Now: noon, Deadline: later, WorkerDead: true}).Refused(domain.KindStale, "stale_claim", "")
		back := s.When(lease.StartRelease{Worker: worker, Node: here, Now: noon, Deadline: later}).
			Then(lease.ReleaseStarted{Attempt: was.Teardown + 1, Worker: worker, Deadline: later})
		require.False(t, back.State().Awaiting(), "at once, whenever the last attempt was to be repeated")
		require.True(t, s.When(lease.ForceCleanup{Reason: "r"}).Then(lease.CleanupForced{Reason: "r"}, lease.Released{}).State().Over())
	}
}

func TestOnlyTheNodeOfARuntimeDrivesIt(t *testing.T) {
	t.Parallel()
	bound(t, provisioned, toRelease).When(lease.StartRelease{Worker: worker, Node: elsewhere, Now: noon, Deadline: later}).
		Refused(domain.KindStale, "stale_claim", "")
	again := lease.StartProvisioning{Runtime: domaintest.ID[domain.RuntimeID](97), Worker: worker, Node: elsewhere, Now: later, Deadline: later, WorkerDead: true}
	bound(t).When(again).Refused(domain.KindStale, "stale_claim", "")
	again.Node = here
	bound(t).When(again).Then(lease.ProvisioningStarted{Attempt: 2, Runtime: domaintest.Runtime, Worker: worker, Deadline: later, Node: here})
	for _, cmd := range []lease.Command{lease.LoseNode{Node: elsewhere}, lease.ForgetNode{Node: elsewhere}, lease.LoseNode{}, lease.ForgetNode{}} {
		bound(t, provisioned, toRelease).When(cmd).Refused(domain.KindStale, "stale_claim", "")
	}
	given(t, requestedFacts(provisioned, toRelease)...).When(lease.LoseNode{}).Refused(domain.KindStale, "stale_claim", "")
}

func TestALeaseThatNeedsNothingOfItsLostNodeGoesOn(t *testing.T) {
	t.Parallel()
	bound(t, provisioned).When(lose).Nothing()
	bound(t, provisioned, toRelease, teardown, lease.Released{}).When(lose).Nothing()
	bound(t, provisioned, toRelease, teardown, lease.Retained{Disposition: lease.DispositionKeepRunning, KeptUntil: later}).When(lose).Nothing()
	kept := bound(t, provisioned, toRelease, teardown, lease.Retained{Disposition: lease.DispositionKeepRunning, KeptUntil: later},
		lease.RetentionEnded{Reason: lease.RetentionExpired})
	require.Equal(t, lease.StatusRetained, kept.When(lose).Then(lost).State().Status(), "how it ended stays")
}

func TestWhatWasToBeMadeOnALostNodeFails(t *testing.T) {
	t.Parallel()
	s := bound(t)
	events, err := lease.Decide(s.State(), lose)
	require.NoError(t, err)
	require.Len(t, events, 3)
	broken := events[0].(lease.ProvisioningFailed)
	require.Equal(t, lease.FailureAmbiguous, broken.Kind)
	require.Equal(t, lease.CodeNodeLost, broken.Code)
	require.True(t, events[1].(lease.Failed).CleanupPending)
	require.Equal(t, lost, events[2])

	nothing := lease.ProvisioningFailed{Attempt: 1, Kind: lease.FailureRetryable, NothingMade: true, Code: "c", Message: "m", RetryAt: &retryAt}
	events, err = lease.Decide(bound(t, nothing).State(), lose)
	require.NoError(t, err)
	require.Len(t, events, 1, "nothing is left")
	require.False(t, events[0].(lease.Failed).CleanupPending)

	events, err = lease.Decide(bound(t, toRelease).State(), lose)
	require.NoError(t, err)
	require.Equal(t, []lease.Event{lease.ProvisioningAbandoned{Attempt: 1, Code: lease.CodeNodeLost}, lost}, events)
}

func TestARuntimeThatWasToBeResumedOnALostNodeStaysKept(t *testing.T) {
	t.Parallel()
	from := domaintest.ID[domain.LeaseID](96)
	request := domaintest.LeaseRequested()
	request.Policy = lease.PolicyReuseByEnvironment
	got := lease.Granted{Slot: 2, From: from, Node: here}
	events, err := lease.Decide(given(t, request, got).State(), lose)
	require.NoError(t, err)
	require.Len(t, events, 1)
	require.False(t, events[0].(lease.Failed).CleanupPending, "it had not touched it")

	resuming := started
	resuming.Node, resuming.Resumes = here, from
	s := given(t, request, got, resuming)
	events, err = lease.Decide(s.State(), lose)
	require.NoError(t, err)
	require.Len(t, events, 2)
	require.Equal(t, noon.Add(time.Hour), *events[1].(lease.Failed).KeptUntil)
}

func TestAForgottenNodeEndsWhatIsOnIt(t *testing.T) {
	t.Parallel()
	kept := lease.Retained{Disposition: lease.DispositionKeepRunning, KeptUntil: later}
	message := "the node " + here.String() + " was given up, with all that is on it"
	gone := lease.Failed{Code: lease.CodeNodeForgotten, Message: message}
	broken := lease.ProvisioningFailed{Attempt: 1, Kind: lease.FailureAmbiguous, Code: lease.CodeNodeForgotten, Message: message}
	for name, c := range map[string]struct{ given, then []lease.Event }{
		"active":           {[]lease.Event{provisioned}, []lease.Event{forgotten, gone}},
		"being made":       {nil, []lease.Event{broken, forgotten, gone}},
		"releasing":        {[]lease.Event{provisioned, toRelease}, []lease.Event{forgotten, lease.Released{}}},
		"waiting":          {[]lease.Event{provisioned, toRelease, lost}, []lease.Event{forgotten, lease.Released{}}},
		"being taken down": {[]lease.Event{provisioned, toRelease, teardown}, []lease.Event{forgotten, lease.Released{}}},
		"made and to go":   {[]lease.Event{toRelease}, []lease.Event{lease.ProvisioningAbandoned{Attempt: 1, Code: lease.CodeNodeForgotten}, forgotten, lease.Released{}}},
		"failed before":    {[]lease.Event{retryable, failed, lost}, []lease.Event{forgotten, lease.CleanupCompleted{}}},
		"kept": {[]lease.Event{provisioned, toRelease, teardown, kept}, []lease.Event{
			lease.RetentionEnded{Reason: lease.RetentionForgotten}, forgotten, lease.CleanupCompleted{},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := bound(t, c.given...).When(forget).Then(c.then...)
			require.True(t, s.State().Over())
			require.True(t, s.State().Forgotten)
			require.False(t, s.State().HoldsSlot())
			require.Equal(t, lease.CleanupSuccess, s.State().CleanupStatus())
			s.When(forget).Nothing()
			s.When(lose).Nothing()
		})
	}
	bound(t, provisioned, toRelease, lost, lease.CleanupForced{Reason: "r"}, lease.Released{}).When(forget).Nothing()
	given(t, domaintest.LeaseRequested(), lease.Granted{Slot: 1, From: domaintest.ID[domain.LeaseID](96), Node: here}).When(forget).Nothing()
}
