package roottest

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
)

func TestMain(m *testing.M) { apptest.Main(m) }

// disk is a file system of its own, which a test fills and empties.
type disk struct {
	t   *testing.T
	dir string
}

// newDisk mounts one with room for so many MiB. Make the engine after it: then it ends before.
func newDisk(t *testing.T, mib int) *disk {
	t.Helper()
	d := &disk{t: t, dir: apptest.Dir(t)}
	require.NoError(t, unix.Mount("tmpfs", d.dir, "tmpfs", 0, "mode=0755,size="+strconv.Itoa(mib)+"m"), "this package needs root that may mount")
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(d.dir, 0)) })
	return d
}

// resize makes it larger.
func (d *disk) resize(mib int) {
	d.t.Helper()
	require.NoError(d.t, unix.Mount("", d.dir, "", unix.MS_REMOUNT, "size="+strconv.Itoa(mib)+"m"))
}

func (d *disk) filler() string { return filepath.Join(d.dir, "filler") }

// fill leaves no room.
func (d *disk) fill() {
	d.t.Helper()
	file, err := os.OpenFile(d.filler(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	require.NoError(d.t, err)
	for zeros := make([]byte, 64<<10); err == nil; {
		_, err = file.Write(zeros)
	}
	require.ErrorIs(d.t, err, unix.ENOSPC)
	require.NoError(d.t, file.Close())
}

// free gives back what fill took.
func (d *disk) free() {
	d.t.Helper()
	require.NoError(d.t, os.Remove(d.filler()))
}

// engineOn is an engine with its data directory on the disk, not started yet.
func (d *disk) engine(opts ...apptest.Option) *apptest.Engine {
	d.t.Helper()
	e := apptest.New(d.t, opts...)
	e.DataDir = filepath.Join(d.dir, "data")
	return e
}

// impatient is a client that repeats nothing by itself.
func impatient(t *testing.T, e *apptest.Engine) *client.Client {
	t.Helper()
	c, err := client.New(e.Client.BaseURL(), e.Key, client.WithoutRetries())
	require.NoError(t, err)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// requireNotNow holds an error to be a clear "not now", and returns its code.
func requireNotNow(t *testing.T, err error) string {
	t.Helper()
	p, ok := errors.AsType[*client.Problem](err)
	require.True(t, ok, err)
	require.Equal(t, 503, p.Status, "%+v", p)
	require.NotEmpty(t, p.Remediation)
	require.Positive(t, p.RetryAfter)
	return p.Code
}
