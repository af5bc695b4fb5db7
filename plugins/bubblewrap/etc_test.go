package bubblewrap

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
)

func TestACommandReadsTheMachinesFilesOfEtc(t *testing.T) {
	t.Parallel()
	r := driverstest.Acquire(t, features())
	shown := 0
	for _, path := range etcFiles {
		done := r.Run(drivers.ExecRequest{Argv: []string{"cat", path}})
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			require.NotZero(t, done.ExitCode, path)
			continue
		}
		require.NoError(t, err)
		require.Zero(t, done.ExitCode, "%s", done.Stderr)
		require.Equal(t, string(text), string(done.Stdout), path)
		shown++
	}
	require.NotZero(t, shown)
	require.NotZero(t, r.Sh(`for f in /etc/* /etc/.tenure/*; do echo x >> $f && exit 0; done; exit 1`).ExitCode)
}

func TestACopyFollowsTheMachinesFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, err := openEtc(filepath.Join(dir, "etc"), testUID, testUID)
	require.NoError(t, err)
	source := filepath.Join(dir, "services")
	require.Empty(t, e.show(source), "the machine does not have it")
	for _, text := range []string{"one", "two", "longer"} {
		require.NoError(t, os.WriteFile(source, []byte(text), 0o600))
		require.NoError(t, os.Chmod(source, 0o644))
		require.Equal(t, []string{"--symlink", "/etc/.tenure/services", source}, e.show(source))
		copied, err := os.ReadFile(filepath.Join(e.dir, "services"))
		require.NoError(t, err)
		require.Equal(t, text, string(copied))
	}
	require.Equal(t, []string{"--symlink", "/etc/.tenure/services", source}, e.show(source))
}

func TestAFileThatNotEverybodyMayReadIsNotCopied(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, err := openEtc(filepath.Join(dir, "etc"), testUID, testUID)
	require.NoError(t, err)
	source := filepath.Join(dir, "private")
	require.NoError(t, os.WriteFile(source, []byte("secret"), 0o640))
	require.Equal(t, []string{"--ro-bind-try", source, source}, e.show(source))
	require.NoFileExists(t, filepath.Join(e.dir, "private"))
}

func TestAFileThatIsBelowUsrIsALink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, err := openEtc(filepath.Join(dir, "etc"), testUID, testUID)
	require.NoError(t, err)
	real, err := filepath.EvalSymlinks("/usr/bin/env")
	require.NoError(t, err)
	link := filepath.Join(dir, "env")
	require.NoError(t, os.Symlink("/usr/bin/env", link))
	require.Equal(t, []string{"--symlink", real, link}, e.show(link))
}
