package embedded_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore/embedded"
	"github.com/tenure-dev/tenure/eventstore/embedded/internal/enginetest"
)

func TestStartNamesEveryBadOption(t *testing.T) {
	t.Parallel()
	_, err := embedded.Start(t.Context(), embedded.Options{
		BinDir: "relative", StartTimeout: -1, LogLimit: -1, Settings: map[string]string{"listen_addresses": "*", "Bad Name": "1"},
	})
	var e *embedded.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, embedded.CodeBadOptions, e.Code)
	for _, field := range []string{"DataDir", "BinDir", "StartTimeout", "LogLimit", "listen_addresses", "Bad Name"} {
		require.ErrorContains(t, err, field)
	}
}

func TestStartWithoutBinariesSaysWhatToInstall(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	_, err := embedded.Start(t.Context(), embedded.Options{DataDir: dir, BinDir: "/nonexistent"})
	requireCode(t, err, embedded.CodeNotInstalled)
	require.ErrorContains(t, err, "/nonexistent")
	require.NoDirExists(t, filepath.Join(dir, "postgres"))
	start(t, embedded.Options{DataDir: dir, NoSync: true})
}

func TestStartRefusesAClusterOfAnotherVersion(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	cluster := filepath.Join(dir, "postgres")
	require.NoError(t, os.MkdirAll(cluster, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(cluster, "PG_VERSION"), []byte("11\n"), 0o600))
	_, err := embedded.Start(t.Context(), embedded.Options{DataDir: dir})
	requireCode(t, err, embedded.CodeWrongVersion)
	require.ErrorContains(t, err, "made by PostgreSQL 11")
	require.ErrorContains(t, err, "postgresql-11")
}

func TestStartRefusesADirectoryThatIsNoCluster(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	precious := filepath.Join(dir, "postgres", "thesis.txt")
	require.NoError(t, os.MkdirAll(filepath.Dir(precious), 0o700))
	require.NoError(t, os.WriteFile(precious, nil, 0o600))
	_, err := embedded.Start(t.Context(), embedded.Options{DataDir: dir})
	requireCode(t, err, embedded.CodeDataDirContent)
	require.FileExists(t, precious)
}

func TestStartRefusesADataDirectoryThatIsAFile(t *testing.T) {
	t.Parallel()
	file := dataDir(t)
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		_, err := embedded.Start(t.Context(), embedded.Options{DataDir: dir})
		requireCode(t, err, embedded.CodeDataDirAccess)
		require.ErrorContains(t, err, "not a directory")
	}
}

func TestStartThatFailsSaysWhyAndCanBeRepeated(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	_, err := embedded.Start(t.Context(), embedded.Options{DataDir: dir, NoSync: true, Settings: map[string]string{"max_connections": "many"}})
	requireCode(t, err, embedded.CodeStartFailed)
	require.ErrorContains(t, err, "FATAL")
	require.Empty(t, enginetest.Processes(dir))
	start(t, embedded.Options{DataDir: dir, NoSync: true})
}

func TestErrorIsOneLine(t *testing.T) {
	t.Parallel()
	err := &embedded.Error{What: "a", Cause: os.ErrClosed, Remediation: "b\n c"}
	require.Equal(t, "a: file already closed; b c", err.Error())
	require.ErrorIs(t, err, os.ErrClosed)
}
