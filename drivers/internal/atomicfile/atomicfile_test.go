package atomicfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAWriteReplacesTheWholeFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, Write(path, []byte("longer"), 0o600))
	require.NoError(t, Write(path, []byte("new"), 0o600))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "new", string(b))
	require.NoFileExists(t, path+".tmp")
	require.Error(t, Write(filepath.Join(path, "below a file"), nil, 0o600))
}

func TestAReservationIsInvisibleUntilItIsCommitted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	r, err := Reserve(path, 100, 0o600)
	require.NoError(t, err)
	require.NoFileExists(t, path)
	_, err = Reserve(path, 100, 0o600)
	require.ErrorIs(t, err, fs.ErrExist)
	require.NoError(t, r.Close())
	r, err = Reopen(path)
	require.NoError(t, err)
	require.NoError(t, r.Commit([]byte("short")))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "short", string(b))
	_, err = Reserve(path, 100, 0o600)
	require.ErrorIs(t, err, fs.ErrExist)

	other, err := Reserve(path+"2", 10, 0o600)
	require.NoError(t, err)
	require.NoError(t, other.Discard())
	require.NoFileExists(t, path+"2.tmp")
}
