package commands_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore/commands"
)

func TestBackoffDoublesUpToItsLimitAndNeverOverflows(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]time.Duration{0: time.Second, 1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 7: time.Minute, 1 << 40: time.Minute} {
		require.Equal(t, want, commands.Backoff(n, time.Second, time.Minute), n)
	}
	require.Equal(t, time.Second, commands.Backoff(1, time.Hour, time.Second))
	require.Equal(t, time.Duration(math.MaxInt64), commands.Backoff(1<<40, 24*time.Hour, math.MaxInt64))
}
