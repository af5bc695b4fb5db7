package apptest

import (
	"os"
	"path/filepath"

	"github.com/stretchr/testify/require"
)

// Beside gives an engine that is not started yet what it needs to work on the same database as another one, as an operator
// copies it to a second machine: the keyset, and the first admin key.
func (e *Engine) Beside(first *Engine) {
	e.t.Helper()
	require.NoError(e.t, os.MkdirAll(e.DataDir, 0o711))
	for _, name := range []string{"admin.key", "keyset.json"} {
		content, err := os.ReadFile(filepath.Join(first.DataDir, name))
		require.NoError(e.t, err)
		require.NoError(e.t, os.WriteFile(filepath.Join(e.DataDir, name), content, 0o600))
	}
}
