package enginetest

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/fake"
)

// A09: why a runtime cannot be made is the provider's to say, and reaches the lease within the attempt's limit.
func TestTheProvidersOwnReasonReachesTheLease(t *testing.T) {
	t.Parallel()
	s := startShort(t)
	image := s.environment("fake", fake.Step{
		Verb: fake.VerbAcquire, Action: fake.ActionFail, Outcome: drivers.OutcomeDefinite, Code: "image_pull_failed", Step: "pull_image",
		Message: "acme/box:9: unauthorized", Remediation: "add the registry's secret",
	})
	capacity := s.environment("fake", fake.Step{
		Verb: fake.VerbAcquire, Action: fake.ActionFail, Code: "no_capacity", Step: "schedule", Message: "zone a is full", Times: 1,
	})
	slow := s.environment("fake", fake.Step{Verb: fake.VerbAcquire, Attempt: 1, Action: fake.ActionDelay, Ms: 600_000})

	l := s.acquire(image)
	require.Equal(t, wire.LeaseFailed, l.Status)
	contains(t, reason(l), "image_pull_failed", "pull_image", "unauthorized", "add the registry's secret")
	require.Len(t, s.facts(l.ID, "LeaseProvisioningStarted"), 1, "what cannot succeed is not tried again")

	l = s.acquire(capacity)
	require.Equal(t, wire.LeaseActive, l.Status)
	failures := s.facts(l.ID, "LeaseProvisioningFailed")
	require.Len(t, failures, 1)
	require.Equal(t, drivers.CodeNoCapacity, failures[0].Code)
	require.Equal(t, "schedule", failures[0].Step)
	require.Greater(t, s.facts(l.ID, "LeaseProvisioningStarted")[1].At.Sub(failures[0].At), 10*time.Second, "it is of no use to ask soon")

	l = s.acquire(slow)
	require.Equal(t, wire.LeaseActive, l.Status)
	failures = s.facts(l.ID, "LeaseProvisioningFailed")
	require.Len(t, failures, 1)
	require.Equal(t, "acquire_before", failures[0].Step, "the worker was asked to stop and said where it was: %+v", failures[0])
	require.Equal(t, "retryable", failures[0].Kind)
	require.True(t, failures[0].At.Before(s.facts(l.ID, "LeaseProvisioningStarted")[0].Deadline), "the inner limit is the earlier one")
	require.Equal(t, 1, s.created(l.ID))
}

// A10 (a) and (c): a later step fails, and the undoing with it.
func TestWhatWasMadeBeforeALaterStepFailedIsDestroyed(t *testing.T) {
	t.Parallel()
	s := startShort(t)
	for _, fails := range []int{0, 2} {
		env := s.environment("fake", fake.Step{
			Verb: fake.VerbAcquire, Action: fake.ActionPartial, Step: "make_secret", Code: "quota", DestroyFails: fails,
		})
		l := s.acquire(env)
		require.Equal(t, wire.LeaseFailed, l.Status)
		require.Equal(t, "make_secret", s.facts(l.ID, "LeaseProvisioningFailed")[0].Step)
		require.Empty(t, s.facts(l.ID, "LeaseProvisioned"))
		l = s.until(l.ID, "is cleaned up", cleaned)
		require.Equal(t, 1, s.created(l.ID))
		require.Empty(t, s.lives(l.ID))
		require.Len(t, s.facts(l.ID, "LeaseReleaseFailed"), fails)
	}
}

// A10 (b) and A12: the worker dies after it made the runtime, before it says so.
func TestTheRuntimeOfAWorkerThatDiedOverItsCreationIsDestroyed(t *testing.T) {
	t.Parallel()
	s := startShort(t)
	for _, provider := range []string{"fake", "fake-listable"} {
		for _, at := range []fake.Place{fake.PlaceAfter, fake.PlaceReply} {
			l := s.acquire(s.environment(provider, fake.Step{Verb: fake.VerbAcquire, Attempt: 1, Action: fake.ActionCrash, At: at}))
			require.Equal(t, wire.LeaseFailed, l.Status)
			require.Equal(t, "worker_died", s.facts(l.ID, "LeaseProvisioningFailed")[0].Code)
			l = s.until(l.ID, "is cleaned up", cleaned)
			require.Equal(t, 1, s.created(l.ID))
			require.Empty(t, s.lives(l.ID))
		}
	}
	// Nobody can ask a blind one: it stands on record, with what a person has to do.
	l := s.acquire(s.environment("fake-blind", fake.Step{Verb: fake.VerbAcquire, Attempt: 1, Action: fake.ActionCrash, At: fake.PlaceAfter}))
	require.Equal(t, wire.LeaseFailed, l.Status)
	l = s.until(l.ID, "is on record", func(l wire.Lease) bool { return pending(l) && strings.Contains(left(l), "runtime_unknown") })
	require.Len(t, s.lives(l.ID), 1)
	require.Equal(t, 1, s.created(l.ID))
}

// A12: the engine dies between the reply and the event.
func TestAnEngineThatDiesOverTheReplyFindsTheRuntimeAgain(t *testing.T) {
	t.Parallel()
	for _, provider := range []string{"fake", "fake-listable", "fake-blind"} {
		t.Run(provider, func(t *testing.T) {
			t.Parallel()
			// A blind attempt is waited for until its limit is over; the first one has to start the worker within it.
			s := start(t, apptest.WithArgs("--provision-timeout", "20s", "--release-timeout", "20s"),
				apptest.WithFaults(t, "driver.acquire.after@1", filepath.Join(apptest.Dir(t), "trace")))
			l := s.ask(s.environment(provider))
			<-s.Gone()
			require.Len(t, s.lives(l.ID), 1)
			s.Disarm()
			s.Start()
			l = s.until(l.ID, "is active or over", func(l wire.Lease) bool { return l.Status == wire.LeaseActive || l.Ended() })
			require.Equal(t, 1, s.created(l.ID), "never two")
			if provider == "fake-blind" {
				require.Equal(t, wire.LeaseFailed, l.Status)
				require.Equal(t, "outcome_unknown", s.facts(l.ID, "LeaseProvisioningFailed")[0].Code)
				s.until(l.ID, "is on record", pending)
				return
			}
			require.Equal(t, wire.LeaseActive, l.Status)
			require.Equal(t, "resumed", s.facts(l.ID, "LeaseProvisioned")[0].Acquisition)
			require.Equal(t, []string{*l.ProviderLeaseID}, s.lives(l.ID))
			s.release(l.ID)
			s.until(l.ID, "is released", cleaned)
			require.Empty(t, s.lives(l.ID))
		})
	}
}

// A17: a release while the provider is still at it.
func TestAReleaseOfALeaseThatIsStillBeingMade(t *testing.T) {
	t.Parallel()
	s := start(t)
	env := s.environment("fake", fake.Step{Verb: fake.VerbAcquire, Attempt: 1, Action: fake.ActionDelay, Ms: 10_000, Deaf: true})
	l := s.ask(env)
	s.until(l.ID, "is being made", func(l wire.Lease) bool { return len(s.facts(l.ID, "LeaseProvisioningStarted")) == 1 })
	require.Equal(t, wire.LeaseReleasing, s.release(l.ID).Status)
	require.Zero(t, s.created(l.ID), "it is accepted at once, and not when the provider is through")
	next := s.acquire(env)
	require.Equal(t, wire.LeaseActive, next.Status)
	l = s.until(l.ID, "is released", cleaned)
	require.Equal(t, wire.LeaseReleased, l.Status)
	require.Empty(t, s.lives(l.ID))
	require.Equal(t, []string{*next.ProviderLeaseID}, s.lives(next.ID))
	require.NotEqual(t, next.ID, l.ID)
}

// A17 for a provider that knows a runtime by its own name only: the name that comes after the release is kept.
func TestTheNameThatABlindProviderGivesAfterTheReleaseIsKept(t *testing.T) {
	t.Parallel()
	s := start(t)
	l := s.ask(s.environment("fake-blind", fake.Step{Verb: fake.VerbAcquire, Action: fake.ActionLate, Ms: 2_000}))
	s.until(l.ID, "is being made", func(wire.Lease) bool { return len(s.facts(l.ID, "LeaseProvisioningStarted")) == 1 })
	s.release(l.ID)
	l = s.until(l.ID, "is released", cleaned)
	require.Equal(t, wire.LeaseReleased, l.Status)
	require.Equal(t, 1, s.created(l.ID))
	require.Empty(t, s.lives(l.ID))
}

// A17, the variant, and late replies: whoever answers too late is cleaned up after; whoever never does is waited for, in
// sight, until the worker ends.
func TestAProviderThatAnswersTooLateOrNever(t *testing.T) {
	t.Parallel()
	s := startShort(t)
	for _, provider := range []string{"fake", "fake-listable", "fake-blind"} {
		late := s.acquire(s.environment(provider, fake.Step{Verb: fake.VerbAcquire, Attempt: 1, Action: fake.ActionLate, Ms: 8_000}))
		require.Equal(t, wire.LeaseFailed, late.Status)
		require.Equal(t, "worker_timeout", s.facts(late.ID, "LeaseProvisioningFailed")[0].Code)
		s.until(late.ID, "is cleaned up", cleaned)
		require.Equal(t, 1, s.created(late.ID))
		require.Empty(t, s.lives(late.ID))
	}
	// The runtime is made only after everybody has given up.
	deaf := s.acquire(s.environment("fake", fake.Step{Verb: fake.VerbAcquire, Attempt: 1, Action: fake.ActionDelay, Ms: 8_000, Deaf: true}))
	require.Equal(t, wire.LeaseFailed, deaf.Status)
	s.until(deaf.ID, "is cleaned up", cleaned)
	require.Equal(t, 1, s.created(deaf.ID))
	require.Empty(t, s.lives(deaf.ID))

	never := s.acquire(s.environment("fake", fake.Step{Verb: fake.VerbAcquire, Attempt: 1, Action: fake.ActionSilent, At: fake.PlaceAfter}))
	require.Equal(t, wire.LeaseFailed, never.Status)
	s.until(never.ID, "waits for its cleanup", func(l wire.Lease) bool { return pending(l) && len(s.facts(l.ID, "LeaseReleaseFailed")) > 0 })
	require.Equal(t, "acquire_unanswered", s.facts(never.ID, "LeaseReleaseFailed")[0].Code)
	p := s.plugin("tenure.fake")
	_, err := s.Client.DisablePlugin(t.Context(), p.ID, wire.DisablePlugin{})
	require.NoError(t, err)
	s.eventually("the worker ends", func() bool { return s.plugin("tenure.fake").Process.PID == 0 }, nil)
	_, err = s.Client.EnablePlugin(t.Context(), p.ID)
	require.NoError(t, err)
	s.until(never.ID, "is cleaned up", cleaned)
	require.Empty(t, s.lives(never.ID))
}
