package balance

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain/runtime"
)

func TestARuntimeIsAccountedForOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status              runtime.Status
		lookedAfter, listed bool
		want                place
	}{
		{runtime.StatusIntended, true, false, inWork},
		{runtime.StatusIntended, false, false, nowhere},
		{runtime.StatusHeld, true, false, held},
		{runtime.StatusHeld, true, true, held},
		{runtime.StatusHeld, false, true, onList},
		{runtime.StatusFree, true, false, inWork},
		{runtime.StatusFree, false, true, onList},
		{runtime.StatusDestroying, true, true, inWork},
		{runtime.StatusDestroying, false, true, onList},
		{runtime.StatusDestroying, false, false, nowhere},
		{runtime.StatusDestroyed, false, true, destroyed},
		{runtime.StatusDisowned, false, false, destroyed},
		// The lease that found another one in its place goes on with a replacement.
		{runtime.StatusLost, true, true, onList},
		{runtime.StatusLost, true, false, nowhere},
		{runtime.StatusLost, false, true, onList},
	} {
		require.Equal(t, c.want, sort(c.status, c.lookedAfter, c.listed), "%s, looked after %t, listed %t", c.status, c.lookedAfter, c.listed)
	}
}
