package inner_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/plugins/docker/inner"
)

func TestOutsideAContainerItDoesNothing(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"help"}, {inner.Exec, "more"}, {inner.Pause}} {
		require.Equal(t, 2, inner.Main(args), "%v", args)
	}
	require.Zero(t, inner.Main([]string{inner.Check}))
}
