package embedded_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore/embedded"
)

// Binaries that say they are a PostgreSQL 13: nothing is made with them, not even tried.
func TestStartRefusesBinariesThatAreTooOld(t *testing.T) {
	t.Parallel()
	dir, bin := dataDir(t), dataDir(t)
	require.NoError(t, os.MkdirAll(bin, 0o755))
	for name, script := range map[string]string{
		"postgres": "#!/bin/sh\necho 'postgres (PostgreSQL) 13.12'\n",
		"initdb":   "#!/bin/sh\ntouch " + filepath.Join(bin, "tried") + "\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755))
	}
	_, err := embedded.Start(t.Context(), embedded.Options{DataDir: dir, BinDir: bin})
	requireCode(t, err, embedded.CodeWrongVersion)
	require.ErrorContains(t, err, "PostgreSQL 13")
	require.ErrorContains(t, err, "install a newer one")
	require.NoFileExists(t, filepath.Join(bin, "tried"))
	require.NoDirExists(t, filepath.Join(dir, "postgres"))
}
