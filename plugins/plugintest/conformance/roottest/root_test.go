package roottest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/plugins/manifest"
	"github.com/tenure-dev/tenure/plugins/plugintest/conformance"
)

// A plugin under test is foreign code: it need not run as the root who tests it.
func TestAWorkerRunsAsTheUserThatIsNamed(t *testing.T) {
	t.Parallel()
	report, err := conformance.Run(t.Context(), conformance.Target{
		Command: []string{"/bin/sh", "-c", `echo "uid $(id -u) gid $(id -g) groups $(id -G)" >&2; exit 3`},
		As:      &manifest.Credential{UID: 65534, GID: 65533},
	}, conformance.Options{Only: []string{"handshake", "junk"}})
	require.NoError(t, err)
	require.Len(t, report.Results, 2)
	for _, r := range report.Results {
		require.Contains(t, r.Detail, "uid 65534 gid 65533 groups 65533", r.Check)
	}
}
