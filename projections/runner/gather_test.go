package runner_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/projections/projectionstest"
	"github.com/tenure-dev/tenure/projections/runner"
)

// Events that come soon after a page wait for others, but not if somebody waits for them.
func TestEventsAreGatheredUnlessSomebodyWaits(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	r := e.runner(runner.Options{Gather: time.Hour})
	run(t, r)
	events, _ := lives(t, 3)
	at := func() int64 {
		position, err := r.Position("leases")
		require.NoError(t, err)
		return position
	}
	<-r.Ready()
	alone := projectionstest.Append(t, e.store, events[:1])
	soon(t, "an event that comes alone is taken at once", func() bool { return at() == alone })
	var last int64
	for i := range events[1:] {
		last = projectionstest.Append(t, e.store, events[1+i:2+i])
	}
	require.Equal(t, alone, at(), "nobody waits, so there is time")
	require.NoError(t, r.Wait(within(t, 2*time.Minute), last), "somebody does")
	e.sameAsLog(t, r, "leases")
}
