package early_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/cmd/internal/early"
	"github.com/tenure-dev/tenure/plugins/docker/inner"
)

// initialized are the packages that the program initializes when it is called like this.
func initialized(t *testing.T, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = []string{"GODEBUG=inittrace=1"}
	out, _ := cmd.CombinedOutput() // without its engine it fails
	require.Contains(t, string(out), "init syscall @")
	return string(out)
}

func TestTheRolesDoNotPayForTheEngine(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "tenure")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/tenure-dev/tenure/cmd/tenure")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	all := initialized(t, program, "version")
	for _, role := range [][]string{{early.ExecParent}, {inner.Command}} {
		paid := initialized(t, program, role...)
		for _, heavy := range []string{
			"github.com/santhosh-tekuri/jsonschema/v6", "github.com/prometheus/client_golang/prometheus", "github.com/prometheus/procfs",
			"golang.org/x/crypto/ssh", "github.com/tenure-dev/tenure/plugins/manifest", "github.com/tenure-dev/tenure/projections", "expvar",
		} {
			require.Contains(t, all, "init "+heavy+" @", "it has no init any more; name another one")
			require.NotContains(t, paid, "init "+heavy+" @", "%s pays for it", role)
		}
		require.NotContains(t, paid, "init github.com/tenure-dev/tenure/cmd/internal/app @")
	}
	// The one that is started for each command, twice for one in a sandbox, is earlier still.
	require.NotContains(t, initialized(t, program, early.ExecParent), "init github.com/distribution/reference @")
}
