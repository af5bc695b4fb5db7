package roottest

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/ssh"
	"github.com/tenure-dev/tenure/drivers/ssh/sshtest"
)

func TestADiskThatIsFullOrReadOnlyNamesItsStep(t *testing.T) {
	t.Parallel()
	require.Zero(t, os.Geteuid(), "these tests need root")
	for name, row := range map[string]struct{ mount, step, code string }{
		// The driver asks for 1 KiB of free space here, so that it is the writing that fails.
		"full":                   {`mount -t tmpfs -o size=64k t "$d" && head -c 65536 /dev/zero >"$d/full"`, "write_marker", "disk_full"},
		"almost full":            {`mount -t tmpfs -o size=64k t "$d" && head -c 32768 /dev/zero >"$d/full"`, "free_space", "disk_full"},
		"no more files":          {`mount -t tmpfs -o nr_inodes=1 t "$d"`, "make_marker", "disk_full"},
		"read-only":              {`mount -t tmpfs t "$d" && mount -o remount,ro "$d"`, "make_marker", "read_only"},
		"read-only, no such dir": {`mount -t tmpfs t "$d" && mount -o remount,ro "$d" && d=$d/below`, "make_workspace", "read_only"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			// The server and what it runs see a mount of their own.
			s := sshtest.Start(t, sshtest.Options{Wrap: []string{"unshare", "-m", "sh", "-c", `d=` + dir + `; ` + row.mount + ` && exec "$@"`, "sh"}})
			root := dir
			if row.step == "make_workspace" {
				root = filepath.Join(dir, "below")
			}
			free := int64(1)
			if row.step == "free_space" {
				free = 1024
			} else if row.code == "disk_full" {
				free = -1
			}
			d, err := ssh.New(ssh.Options{MinFree: free})
			require.NoError(t, err)
			t.Cleanup(d.Close)
			config, err := json.Marshal(s.Fields(root))
			require.NoError(t, err)
			_, err = d.Acquire(t.Context(), driverstest.AcquireRequest(driverstest.Features{Config: config}))
			f, ok := errors.AsType[*drivers.Failure](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, []any{drivers.OutcomeRetryable, row.step, row.code}, []any{f.Outcome, f.Step, f.Code}, "%v", err)
			require.NotEmpty(t, f.Remediation)
			probed, err := d.Probe(t.Context(), drivers.ProbeRequest{Config: config})
			require.NoError(t, err)
			require.False(t, probed.OK, "%+v", probed)
			if row.code == "read_only" {
				require.Equal(t, row.code, probed.Diagnostics[0].Code, "%+v", probed)
			}
		})
	}
}

func TestAHostWithoutProcIsRefusedForGood(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{Wrap: []string{"unshare", "-m", "sh", "-c", `mount -t tmpfs t /proc && exec "$@"`, "sh"}})
	d, err := ssh.New(ssh.Options{})
	require.NoError(t, err)
	t.Cleanup(d.Close)
	root := filepath.Join(t.TempDir(), "w")
	config, err := json.Marshal(s.Fields(root))
	require.NoError(t, err)
	_, err = d.Acquire(t.Context(), driverstest.AcquireRequest(driverstest.Features{Config: config}))
	f, ok := errors.AsType[*drivers.Failure](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, []any{drivers.OutcomeDefinite, "check_host", "unsupported_host"}, []any{f.Outcome, f.Step, f.Code}, "%v", err)
	require.NoDirExists(t, root)
}
