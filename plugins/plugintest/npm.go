package plugintest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// NPM is the test provider on the published SDK, ready to run.
type NPM struct {
	// Dir is the plugin's directory: package.json, manifest, worker and node_modules.
	Dir string
	// Node is the Node that the SDK asks for.
	Node string
}

// NPMProvider installs the test provider, which needs the npm registry the first time and never again, and puts it into a
// directory of t's own.
func NPMProvider(t testing.TB) NPM {
	t.Helper()
	_, self, _, ok := runtime.Caller(0)
	require.True(t, ok)
	here := filepath.Dir(self)
	var said bytes.Buffer
	install := exec.CommandContext(t.Context(), filepath.Join(here, "..", "..", ".ci", "npm-provider"))
	install.Stderr = &said
	out, err := install.Output()
	require.NoError(t, err, "%s", said.String())
	modules := filepath.Join(string(bytes.TrimSpace(out)), "node_modules")

	dir := t.TempDir()
	source := filepath.Join(here, "testdata", "npm-provider")
	for _, name := range []string{"package.json", "manifest.js", "worker.js"} {
		b, err := os.ReadFile(filepath.Join(source, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
	}
	// A module's imports are looked up beside it, whatever NODE_PATH says.
	require.NoError(t, os.Symlink(modules, filepath.Join(dir, "node_modules")))
	return NPM{Dir: dir, Node: filepath.Join(modules, ".bin", "node")}
}
