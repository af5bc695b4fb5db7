package lease_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
)

// Whatever a copy of the log inherited ends there, and nothing is left for anybody to drive.
func TestALeaseThatIsDisownedEndsAndIsNotDriven(t *testing.T) {
	t.Parallel()
	for _, status := range known {
		s := at(t, status)
		events, err := lease.Decide(s.State(), lease.Disown{})
		require.NoError(t, err)
		after := s.State()
		for _, e := range events {
			after = lease.Evolve(after, e, domain.Meta{At: noon})
		}
		require.True(t, after.Status().Ended(), "%s", status)
		require.False(t, after.NeedsTeardown(), "%s", status)
		require.False(t, after.HoldsSlot(), "%s", status)
		require.False(t, after.Attempting, "%s", status)
		require.False(t, after.TearingDown, "%s", status)
		if before := s.State(); before.Status().Ended() {
			require.Equal(t, before.Status(), after.Status(), "an end stays what it was")
		} else {
			require.Equal(t, lease.StatusFailed, after.Status())
			require.Equal(t, "left_to_the_original", after.FailureCode)
			require.Equal(t, lease.CleanupNone, after.CleanupStatus(), "nobody cleaned anything up")
		}
		again, err := lease.Decide(after, lease.Disown{})
		require.NoError(t, err)
		require.Empty(t, again, "doing so again changes nothing")
	}
}
