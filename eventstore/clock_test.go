package eventstore_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
)

func TestTheClockIsTheDatabasesAndGoesOnByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c eventstore.Clock
		require.Equal(t, time.Now().UTC(), c.Now(), "nothing better is known")
		there := time.Now().Add(-time.Hour).UTC()
		c.Observe(there)
		require.Equal(t, there, c.Now())
		<-time.After(time.Minute)
		require.Equal(t, there.Add(time.Minute), c.Now())
		c.Observe(there.Add(time.Second))
		require.Equal(t, there.Add(time.Second), c.Now(), "also back: the database's clock was set")
	})
}

// jumps runs a test of a clock that shows an hour that is not that of this machine, and is sure of it.
func jumps(t *testing.T, test func(t *testing.T, c *eventstore.Clock, at func(off time.Duration), notices *[]eventstore.ClockNotice)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c eventstore.Clock
		var notices []eventstore.ClockNotice
		c.Guard(eventstore.ClockLimits{}, func(n eventstore.ClockNotice) { notices = append(notices, n) })
		at := func(off time.Duration) { c.Observe(time.Now().UTC().Add(off)) }
		at(0)
		<-time.After(10 * time.Minute)
		at(59 * time.Second)
		at(0)
		require.Empty(t, notices, "a minute is no jump")
		test(t, &c, at, &notices)
	})
}

func unsure(c *eventstore.Clock) bool { _, u := c.Unsure(); return u }

func TestAJumpOfTheDatabasesClockIsFollowedButNotSureUntilItAgreesForAWhile(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 61 * time.Second} {
		t.Run(jump.String(), func(t *testing.T) {
			jumps(t, func(t *testing.T, c *eventstore.Clock, at func(time.Duration), notices *[]eventstore.ClockNotice) {
				at(jump)
				require.Equal(t, time.Now().UTC().Add(jump), c.Now(), "the database decides what time it is")
				by, u := c.Unsure()
				require.True(t, u)
				require.Equal(t, jump, by)
				<-time.After(30*time.Second - 1)
				at(jump)
				require.True(t, unsure(c))
				<-time.After(1)
				require.True(t, unsure(c), "time alone proves nothing")
				at(jump)
				require.False(t, unsure(c))
				require.Equal(t, []eventstore.ClockNotice{{By: jump, Why: "jumped"}, {By: jump, Sure: true, Why: "settled"}}, *notices)
			})
		})
	}
}

func TestAReadingThatWasAMistakeIsForgotten(t *testing.T) {
	jumps(t, func(t *testing.T, c *eventstore.Clock, at func(time.Duration), notices *[]eventstore.ClockNotice) {
		at(time.Hour)
		<-time.After(time.Second)
		at(0)
		require.False(t, unsure(c))
		require.Equal(t, "went_back", (*notices)[1].Why)
	})
}

func TestAClockThatJumpsAgainIsWatchedAnew(t *testing.T) {
	jumps(t, func(t *testing.T, c *eventstore.Clock, at func(time.Duration), _ *[]eventstore.ClockNotice) {
		at(time.Hour)
		<-time.After(29 * time.Second)
		at(2 * time.Hour)
		<-time.After(29 * time.Second)
		at(2 * time.Hour)
		require.True(t, unsure(c))
		<-time.After(time.Second)
		at(2 * time.Hour)
		require.False(t, unsure(c))
	})
}

func TestAnOperatorsWordEndsTheDoubt(t *testing.T) {
	jumps(t, func(t *testing.T, c *eventstore.Clock, at func(time.Duration), notices *[]eventstore.ClockNotice) {
		c.Confirm()
		require.Empty(t, *notices, "there is nothing to confirm")
		at(time.Hour)
		c.Confirm()
		require.False(t, unsure(c))
		<-time.After(time.Second)
		at(time.Hour)
		require.False(t, unsure(c))
	})
}

// After a jump back recordedAt stands still; it says nothing of the clock then.
func TestTheLogsTimeIsNoReadingOfTheClockWhileItStandsStill(t *testing.T) {
	jumps(t, func(t *testing.T, c *eventstore.Clock, at func(time.Duration), notices *[]eventstore.ClockNotice) {
		last := time.Now().UTC()
		c.ObserveAppend(last)
		at(-time.Hour)
		for range 60 {
			<-time.After(time.Second)
			c.ObserveAppend(last)
			at(-time.Hour)
			require.Equal(t, time.Now().UTC().Add(-time.Hour), c.Now())
		}
		require.False(t, unsure(c))
		require.Len(t, *notices, 2)
		// Appends are readings otherwise: often the only ones for a while.
		<-time.After(2 * time.Hour)
		c.ObserveAppend(time.Now().UTC().Add(time.Hour))
		require.True(t, unsure(c))
	})
}
