package apptest_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/cmd/internal/apptest"
)

// The workers that come with the engine keep the contract that others' are held to; docker is in roottest.
func TestTheWorkersThatComeWithTheEngineConform(t *testing.T) {
	t.Parallel()
	as := uint32(0)
	if os.Geteuid() == 0 {
		as = 65534 // as the engine does it
	}
	for plugin, least := range map[string]int{"fake": 60, "bubblewrap": 25} {
		t.Run(plugin, func(t *testing.T) {
			t.Parallel()
			require.GreaterOrEqual(t, apptest.Conforms(t, as, plugin, map[string]any{}), least)
		})
	}
}
