package lease_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/outage"
)

// held is an active lease whose times are all around noon: acquired then, idle for an hour, hard end in a day.
func held() lease.State {
	s := lease.Decider.Initial()
	for _, e := range []lease.Event{domaintest.LeaseRequested(), granted, started, provisioned} {
		s = lease.Evolve(s, e, domain.Meta{At: noon, Epoch: 1, Position: 1})
	}
	return s
}

func decide(t require.TestingT, s lease.State, c lease.Command) []lease.Event {
	events, err := lease.Decide(s, c)
	require.NoError(t, err)
	return events
}

func refusedAs(t *testing.T, s lease.State, c lease.Command, kind domain.Kind, code, field string) {
	t.Helper()
	events, err := lease.Decide(s, c)
	require.Empty(t, events)
	var r *domain.Refusal
	require.ErrorAs(t, err, &r)
	require.Equal(t, kind, r.Kind)
	require.Equal(t, code, r.Code)
	require.Equal(t, field, r.Field)
	require.NotEmpty(t, r.Remediation)
}

func ttl(d time.Duration) *time.Duration { return &d }

func TestUseRenewsALeaseOnceAWindow(t *testing.T) {
	t.Parallel()
	s := held()
	require.Empty(t, decide(t, s, lease.Renew{Now: noon.Add(time.Minute - 1)}), "a minute at most")
	require.Equal(t, []lease.Event{lease.Renewed{ExpiresAt: noon.Add(61 * time.Minute)}}, decide(t, s, lease.Renew{Now: noon.Add(time.Minute)}))
	// A command that runs will say so again.
	require.Empty(t, decide(t, s, lease.Renew{Now: noon.Add(6*time.Minute - 1), Ongoing: true}))
	require.NotEmpty(t, decide(t, s, lease.Renew{Now: noon.Add(6 * time.Minute), Ongoing: true}))
	s.IdleTimeout, s.ExpiresAt = time.Minute, noon.Add(time.Minute)
	require.Empty(t, decide(t, s, lease.Renew{Now: noon.Add(6*time.Second - 1)}), "a tenth of the idle timeout")
	require.NotEmpty(t, decide(t, s, lease.Renew{Now: noon.Add(6 * time.Second)}))
}

// However often and when a lease is used, it lives as long after the last use as is promised, and the log has one event a
// window.
func TestALeaseLivesForItsIdleTimeoutLessAWindowAfterItsLastUse(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := held()
		s.IdleTimeout = time.Duration(rapid.IntRange(1, 7200).Draw(t, "idle")) * time.Second
		s.ExpiresAt = noon.Add(s.IdleTimeout)
		window := min(s.IdleTimeout/10, time.Minute)
		now, durable := noon, 0
		for range rapid.IntRange(1, 200).Draw(t, "uses") {
			now = now.Add(time.Duration(rapid.Int64Range(1, int64(s.IdleTimeout/8)).Draw(t, "pause")))
			for _, e := range decide(t, s, lease.Renew{Now: now}) {
				s = lease.Evolve(s, e, domain.Meta{At: now})
				durable++
			}
			left := s.EndsAt(nil).Sub(now)
			require.Greater(t, left, min(s.IdleTimeout-window, s.HardExpiresAt.Sub(now)-1))
			require.LessOrEqual(t, left, s.IdleTimeout)
			require.Empty(t, decide(t, s, lease.Expire{Now: now, Renewable: now}), "who uses it in time is never warned")
		}
		require.LessOrEqual(t, int64(durable), int64(now.Sub(noon)/window)+1)
	})
}

func TestARenewalNeverPassesTheTTL(t *testing.T) {
	t.Parallel()
	s := held()
	s.ExpiresAt = s.HardExpiresAt
	require.Equal(t, []lease.Event{lease.Renewed{ExpiresAt: s.HardExpiresAt}}, decide(t, s, lease.Renew{Now: s.HardExpiresAt.Add(-time.Minute)}))
}

func TestATTLMovesTheHardEndFromNowUpToWhatTheEnvironmentAllowed(t *testing.T) {
	t.Parallel()
	s, now := held(), noon.Add(30*time.Minute)
	renewed := func(d time.Duration) lease.State {
		t.Helper()
		events := decide(t, s, lease.Renew{Now: now, TTL: &d})
		require.Len(t, events, 1)
		return lease.Evolve(s, events[0], domain.Meta{At: now})
	}
	longer := renewed(36 * time.Hour)
	require.Equal(t, now.Add(36*time.Hour), longer.HardExpiresAt)
	require.Equal(t, now.Add(time.Hour), longer.ExpiresAt, "the idle limit counts from now")
	shorter := renewed(10 * time.Minute)
	require.Equal(t, now.Add(10*time.Minute), shorter.HardExpiresAt)
	require.Equal(t, now.Add(10*time.Minute), shorter.ExpiresAt)
	require.Equal(t, noon.Add(48*time.Hour), renewed(1000*time.Hour).HardExpiresAt, "the most is from when it became active")
	s.MaxTTL = 0
	require.Equal(t, noon.Add(720*time.Hour), renewed(8000*time.Hour).HardExpiresAt, "a lease from before there was a maximum")
}

func TestATTLIsCoalescedUnlessItMovesTheHardEnd(t *testing.T) {
	t.Parallel()
	s := held()
	require.Empty(t, decide(t, s, lease.Renew{Now: noon.Add(50 * time.Second), TTL: ttl(24 * time.Hour)}))
	require.NotEmpty(t, decide(t, s, lease.Renew{Now: noon.Add(50 * time.Second), TTL: ttl(25 * time.Hour)}))
	require.NotEmpty(t, decide(t, s, lease.Renew{Now: noon.Add(50 * time.Second), TTL: ttl(20 * time.Hour)}))
}

func TestABadTTLIsRefused(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{0, -time.Hour, 1, domain.MaxDuration + time.Millisecond} {
		refusedAs(t, held(), lease.Renew{Now: noon.Add(time.Minute), TTL: &d}, domain.KindInvalid, "invalid_duration", "ttl")
	}
}

func TestALongerTTLThanTheEnvironmentAllowsIsCut(t *testing.T) {
	t.Parallel()
	r := domaintest.LeaseRequested()
	r.TTLMs = r.MaxTTLMs + 1
	cut := r
	cut.TTLMs = r.MaxTTLMs
	require.Equal(t, 48*time.Hour, given(t).When(lease.Request{Requested: r}).Then(cut).State().TTL)
}

func TestAnEndedLeaseIsNeverRevived(t *testing.T) {
	t.Parallel()
	at(t, lease.StatusActive).When(lease.Renew{Now: provisioned.ExpiresAt}).Refused(domain.KindGone, "lease_ended", "")
	at(t, lease.StatusActive).When(lease.Renew{Now: provisioned.ExpiresAt, TTL: ttl(time.Hour)}).Refused(domain.KindGone, "lease_ended", "")
	for _, status := range known {
		s := at(t, status)
		switch status {
		case lease.StatusActive:
		case lease.StatusRequested, lease.StatusGranted, lease.StatusProvisioning:
			s.When(lease.Renew{Now: noon}).Refused(domain.KindConflict, "lease_not_active", "")
		default:
			s.When(lease.Renew{Now: noon}).Refused(domain.KindGone, "lease_ended", "")
		}
	}
}

func expireAt(now time.Time) lease.Expire { return lease.Expire{Now: now, Renewable: now} }

func TestALeaseExpiresWhenItsTimeIsOverAndNotBefore(t *testing.T) {
	t.Parallel()
	s := held()
	require.Empty(t, decide(t, s, expireAt(noon.Add(50*time.Minute))))
	require.Equal(t, []lease.Event{lease.ReleaseRequested{Reason: lease.ReasonExpired}}, decide(t, s, expireAt(s.ExpiresAt)))
	require.NotContains(t, decide(t, s, expireAt(s.ExpiresAt.Add(-1))), lease.ReleaseRequested{Reason: lease.ReasonExpired})
	for _, status := range except(lease.StatusActive) {
		at(t, status).When(expireAt(provisioned.ExpiresAt)).Nothing()
	}
}

func TestAWarningComesOncePerDeadlineAndBeforeIt(t *testing.T) {
	t.Parallel()
	s := held()
	require.Equal(t, s.ExpiresAt.Add(-5*time.Minute), s.NextDeadline())
	require.Empty(t, decide(t, s, expireAt(s.NextDeadline().Add(-1))))
	warned := []lease.Event{lease.ExpiryWarned{ExpiresAt: s.ExpiresAt}}
	require.Equal(t, warned, decide(t, s, expireAt(s.NextDeadline())))
	s = lease.Evolve(s, warned[0], domain.Meta{At: s.NextDeadline()})
	require.Equal(t, s.ExpiresAt, s.NextDeadline())
	require.Empty(t, decide(t, s, expireAt(s.ExpiresAt.Add(-1))))
	// Renewed after all, and idle again.
	now := s.ExpiresAt.Add(-time.Second)
	s = lease.Evolve(s, decide(t, s, lease.Renew{Now: now})[0], domain.Meta{At: now})
	require.Equal(t, now.Add(55*time.Minute), s.NextDeadline())
	require.Equal(t, []lease.Event{lease.ExpiryWarned{ExpiresAt: now.Add(time.Hour)}}, decide(t, s, expireAt(s.NextDeadline())))
}

func TestARenewalUpToTheHardEndIsNotWarnedAgain(t *testing.T) {
	t.Parallel()
	s := held()
	s.ExpiresAt = s.HardExpiresAt
	now := s.NextDeadline()
	require.Equal(t, s.HardExpiresAt.Add(-5*time.Minute), now)
	s = lease.Evolve(s, decide(t, s, expireAt(now))[0], domain.Meta{At: now})
	s = lease.Evolve(s, decide(t, s, lease.Renew{Now: now.Add(time.Minute)})[0], domain.Meta{At: now.Add(time.Minute)})
	require.Empty(t, decide(t, s, expireAt(now.Add(2*time.Minute))), "the end is the one that it was warned of")
	require.Equal(t, s.HardExpiresAt, s.NextDeadline())
}

func TestAGapMovesTheIdleEndAndNotTheHardOne(t *testing.T) {
	t.Parallel()
	s := held()
	gaps := outage.Gaps{{From: noon.Add(50 * time.Minute), To: noon.Add(70 * time.Minute), Shift: 20 * time.Minute, Cap: time.Hour}}
	end := noon.Add(80 * time.Minute)
	require.Equal(t, end, s.EndsAt(gaps))
	require.NoError(t, s.CheckUsable(end.Add(-1), gaps))
	require.Error(t, s.CheckUsable(end, gaps))
	require.Equal(t, []lease.Event{lease.Renewed{ExpiresAt: noon.Add(135 * time.Minute)}}, decide(t, s, lease.Renew{Now: noon.Add(75 * time.Minute), Gaps: gaps}))
	require.Equal(t, []lease.Event{lease.ExpiryWarned{ExpiresAt: end}}, decide(t, s, lease.Expire{Now: end.Add(-1), Gaps: gaps, Renewable: end}))
	require.Equal(t, []lease.Event{lease.ReleaseRequested{Reason: lease.ReasonExpired}}, decide(t, s, lease.Expire{Now: end, Gaps: gaps, Renewable: end}))
	s.HardExpiresAt = noon.Add(65 * time.Minute)
	require.Equal(t, s.HardExpiresAt, s.EndsAt(gaps))
	ended := lease.Evolve(s, lease.ReleaseRequested{Reason: lease.ReasonReleased}, domain.Meta{At: noon})
	require.Equal(t, s.ExpiresAt, ended.EndsAt(gaps), "what has ended is as it was")
}

func TestAnIdleLeaseDoesNotEndBeforeItCouldHaveBeenRenewedAtItsEnd(t *testing.T) {
	t.Parallel()
	s := held()
	late := s.ExpiresAt.Add(time.Hour)
	require.Empty(t, decide(t, s, lease.Expire{Now: late, Renewable: s.ExpiresAt.Add(-1)}))
	require.NotEmpty(t, decide(t, s, lease.Expire{Now: late, Renewable: s.ExpiresAt}))
	s.ExpiresAt = s.HardExpiresAt
	require.NotEmpty(t, decide(t, s, lease.Expire{Now: s.HardExpiresAt}), "the hard end waits for nobody")
}

func TestARenewalWhileTheLogsTimeIsAheadOfTheClockShortensNothing(t *testing.T) {
	t.Parallel()
	s := held()
	s.ExpiresAt = noon.Add(time.Hour)
	back := noon.Add(-30 * time.Minute) // the database's clock was set back
	require.Equal(t, []lease.Event{lease.Renewed{ExpiresAt: s.ExpiresAt}}, decide(t, s, lease.Renew{Now: back}))
}
