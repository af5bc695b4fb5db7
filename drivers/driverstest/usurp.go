package driverstest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Put leaves a file where a driver has its own, for a [Usurper].
func Put(t *testing.T, path, text string) (untouched func()) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return func() {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, text, string(b))
	}
}

// Remark makes a field of a runtime's marker somebody else's, for a [Usurper].
func Remark(t *testing.T, path, field string) (untouched func()) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	var marker map[string]any
	require.NoError(t, json.Unmarshal(b, &marker))
	require.Contains(t, marker, field)
	marker[field] = "somebody"
	b, err = json.Marshal(marker)
	require.NoError(t, err)
	return Put(t, path, string(b)+"\n")
}
