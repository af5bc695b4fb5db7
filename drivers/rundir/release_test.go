package rundir

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
)

// A release that a crash cut short has left its directory, and perhaps a record of a parent that was never told anything.
func TestAReleaseTakesAlongWhatEarlierOnesLeft(t *testing.T) {
	t.Parallel()
	d, err := Open(Options{Root: filepath.Join(t.TempDir(), "runtimes"), Contained: true})
	require.NoError(t, err)
	req := drivers.AcquireRequest{RuntimeID: "rt", Installation: "i", LeaseID: "l", Fence: 1}
	for range 3 {
		_, err := d.Acquire(t.Context(), req)
		require.NoError(t, err)
		l := d.Layout(req.RuntimeID)
		require.NoError(t, os.WriteFile(l.record(drivers.Process{PID: 1}), []byte(`{"pid": 1, "sta`), 0o600))
		require.NoError(t, d.setAside(l, req.RuntimeID))
		require.NoDirExists(t, l.Dir)
	}
	remains, err := d.remains(req.RuntimeID)
	require.NoError(t, err)
	require.Len(t, remains, 3)
	require.NoError(t, d.Release(t.Context(), req.RuntimeID, req.Fence, nil))
	left, err := os.ReadDir(d.Root())
	require.NoError(t, err)
	require.Empty(t, left)
	require.NoError(t, d.Release(t.Context(), req.RuntimeID, req.Fence, nil))
}
