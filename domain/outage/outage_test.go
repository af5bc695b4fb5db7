package outage_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/outage"
)

var noon = domaintest.Noon

func at(d time.Duration) time.Time { return noon.Add(d) }

func given(t *testing.T, facts ...outage.Event) domaintest.Scenario[outage.State, outage.Command, outage.Event] {
	t.Helper()
	return domaintest.Given[outage.State, outage.Command, outage.Event](t, outage.Decider, facts...)
}

func fact(from, to, shift time.Duration) outage.RenewalsInterrupted {
	return outage.RenewalsInterrupted{From: at(from), To: at(to), ShiftMs: shift.Milliseconds(), CapMs: time.Hour.Milliseconds()}
}

func TestAGapIsRecordedOnceWhoeverFindsIt(t *testing.T) {
	t.Parallel()
	found := outage.Record{From: at(0), To: at(5 * time.Minute), Cap: time.Hour}
	s := given(t).When(found).Then(fact(0, 5*time.Minute, 5*time.Minute))
	s.When(found).Nothing()
	// Another process finds it a little later: the rest is too short to count.
	s.When(outage.Record{From: at(0), To: at(5*time.Minute + 9*time.Second), Cap: time.Hour}).Nothing()
	// The row was not brought up to date, and a second gap follows.
	s.When(outage.Record{From: at(0), To: at(7 * time.Minute), Cap: time.Hour}).Then(fact(5*time.Minute, 7*time.Minute, 2*time.Minute))
}

func TestTenSecondsAreNoGapAndALongOneIsCapped(t *testing.T) {
	t.Parallel()
	given(t).When(outage.Record{From: at(0), To: at(outage.Threshold), Cap: time.Hour}).Nothing()
	given(t).When(outage.Record{From: at(0), To: at(outage.Threshold + 1), Cap: time.Hour}).
		Then(outage.RenewalsInterrupted{From: at(0), To: at(outage.Threshold + 1), ShiftMs: 10_001, CapMs: time.Hour.Milliseconds()})
	given(t).When(outage.Record{From: at(0), To: at(5 * time.Hour), Cap: time.Hour}).Then(fact(0, 5*time.Hour, time.Hour))
	for _, limit := range []time.Duration{0, -1, domain.MaxDuration + 1} {
		given(t).When(outage.Record{From: at(0), To: at(time.Hour), Cap: limit}).Refused(domain.KindInvalid, "invalid_duration", "cap")
	}
}

func TestAnOperatorConfirmsTheClock(t *testing.T) {
	t.Parallel()
	s := given(t).When(outage.ConfirmClock{Reason: "ntp was off"}).Then(outage.ClockConfirmed{Reason: "ntp was off"})
	require.Equal(t, 1, s.State().ClockConfirmed)
	given(t).When(outage.ConfirmClock{Reason: "\x00"}).Refused(domain.KindInvalid, "invalid_text", "reason")
	given(t).When(nil).Refused(domain.KindInvalid, "unknown_command", "")
}

func gap(from, to time.Duration) outage.Gap {
	return outage.Gap{From: at(from), To: at(to), Shift: min(to-from, time.Hour), Cap: time.Hour}
}

func TestADeadlineMovesByTheGapsThatItWasRunningIn(t *testing.T) {
	t.Parallel()
	const m = time.Minute
	gaps := outage.Gaps{gap(10*m, 15*m), gap(30*m, 40*m), gap(100*m, 200*m)}
	for name, tc := range map[string]struct{ deadline, since, want time.Duration }{
		"passed before":              {10 * m, 0, 10 * m},
		"running in the first":       {11 * m, 0, 16 * m},
		"set within the first":       {20 * m, 12 * m, 23 * m},
		"set after the first":        {20 * m, 15 * m, 20 * m},
		"running in two":             {31 * m, 0, 46 * m},
		"moved into the second":      {26 * m, 0, 41 * m},
		"not even moved into it":     {25 * m, 0, 30 * m},
		"all of them, up to the cap": {150 * m, 0, 210 * m},
		"a long one is capped":       {150 * m, 50 * m, 210 * m},
	} {
		require.Equal(t, at(tc.want), gaps.Move(at(tc.deadline), at(tc.since)), name)
	}
	require.Equal(t, at(m), outage.Gaps(nil).Move(at(m), at(0)))
}

func TestGapsThatAreOverNeverTakeBackAnEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		gaps := someGaps(t)
		deadline, since := at(span(t, "deadline")), at(0)
		end := gaps.Move(deadline, since)
		require.False(t, end.Before(deadline))
		// A later gap that begins when the end has passed changes nothing, and one before does not shorten it.
		last := gaps[len(gaps)-1].To
		later := gaps.With(outage.Open(last.Add(span(t, "rest")), last.Add(30*time.Hour), time.Hour))
		if end.After(later[len(later)-1].From) {
			require.False(t, later.Move(deadline, since).Before(end))
		} else {
			require.Equal(t, end, later.Move(deadline, since))
		}
	})
}

func TestPassedIsTheInverseOfMove(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		gaps := someGaps(t)
		now, since := gaps[len(gaps)-1].To.Add(span(t, "now")), at(span(t, "since"))
		passed := gaps.Passed(now, since)
		require.False(t, gaps.Move(passed, since).After(now))
		require.True(t, passed.Equal(now) || gaps.Move(passed.Add(time.Microsecond), since).After(now))
	})
}

func span(t *rapid.T, label string) time.Duration {
	return time.Duration(rapid.Int64Range(0, int64(3*time.Hour/time.Microsecond)).Draw(t, label)) * time.Microsecond
}

func someGaps(t *rapid.T) outage.Gaps {
	var gaps outage.Gaps
	end := time.Duration(0)
	for range rapid.IntRange(1, 5).Draw(t, "gaps") {
		from := end + span(t, "from")
		end = from + outage.Threshold + span(t, "length")
		gaps = append(gaps, gap(from, end))
	}
	return gaps
}

func TestTheStateIsOfBoundedSizeAndKeepsTheLast(t *testing.T) {
	t.Parallel()
	var s outage.State
	for n := range 3000 {
		s = outage.Evolve(s, fact(time.Duration(n)*time.Hour, time.Duration(n)*time.Hour+time.Minute, time.Minute), domain.Meta{})
	}
	require.Len(t, s.Gaps, 1000)
	require.Equal(t, at(2999*time.Hour), s.Gaps[999].From)
}
