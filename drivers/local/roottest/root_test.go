package roottest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/execparent"
	"github.com/tenure-dev/tenure/drivers/local"
	"github.com/tenure-dev/tenure/drivers/rundir/rundirtest"
)

// uid is a user that the machine need not know.
const uid = 64717

func TestMain(m *testing.M) { driverstest.Main(m, execparent.Main) }

// passable is a temporary directory that another user can pass through; t.TempDir is not.
func passable(t *testing.T) string {
	t.Helper()
	require.Zero(t, os.Geteuid(), "this package needs root")
	dir, err := os.MkdirTemp("/var/tmp", "tenure-roottest-") //nolint:usetesting // see above
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o711))
	return dir
}

// roots are where the drivers of the suite have their runtimes.
var roots driverstest.Behind[string]

func newAt(t *testing.T, root string) drivers.Driver {
	t.Helper()
	d, err := local.New(local.Options{
		Root: root, ParentCommand: []string{"/proc/self/exe", driverstest.ParentArg},
		UID: uid, GID: uid, Drain: 3 * time.Second,
	})
	require.NoError(t, err)
	return d
}

func features() driverstest.Features {
	return rundirtest.Keeps(driverstest.Features{
		New: func(t *testing.T) drivers.Driver {
			root := filepath.Join(passable(t), "runtimes")
			return roots.Add(newAt(t, root), root)
		},
		Peer:  func(t *testing.T, d drivers.Driver) drivers.Driver { return newAt(t, roots.Of(d)) },
		Posix: true, WholeTree: true, HostProcesses: true,
	}, roots.Of)
}

func TestTheLocalDriverKeepsItsPromisesUnderAnotherUser(t *testing.T) {
	t.Parallel()
	driverstest.Run(t, features())
}

func TestACommandHasNoPrivilegeLeft(t *testing.T) {
	t.Parallel()
	r := driverstest.Acquire(t, features())
	require.Equal(t, "uid", r.Driver.Describe().Isolation)
	got := r.Run(drivers.ExecRequest{Argv: []string{"cat", "/proc/self/status"}})
	fields := make(map[string]string)
	for line := range strings.Lines(string(got.Stdout)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.Join(strings.Fields(value), " ")
	}
	id := strconv.Itoa(uid)
	all := strings.Join([]string{id, id, id, id}, " ")
	require.Equal(t, all, fields["Uid"])
	require.Equal(t, all, fields["Gid"])
	require.Empty(t, fields["Groups"])
	require.Equal(t, "1", fields["NoNewPrivs"])
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		require.Equal(t, "0000000000000000", fields[set], set)
	}
	require.Equal(t, "0000000000000000", fields["SigIgn"])
	require.Equal(t, "0000000000000000", fields["SigBlk"])
}

func TestACommandCannotTouchItsParentOrTheDataAroundIt(t *testing.T) {
	t.Parallel()
	r := driverstest.Acquire(t, features())
	runtime := filepath.Dir(r.Field("workspace"))
	for _, script := range []string{
		`kill -9 $PPID`, `kill -TERM $PPID`, `for t in /proc/$PPID/task/*; do kill -9 ${t##*/} && exit 0; done; exit 1`,
		`cat /proc/$PPID/mem`, `cat /proc/$PPID/environ`, `ls /proc/$PPID/fd`,
		`ls ` + runtime, `cat ` + runtime + `/marker.json`, `touch ` + runtime + `/x`, `ls ` + filepath.Dir(runtime),
	} {
		done := r.Sh(script)
		require.Equal(t, drivers.ExecExited, done.End, script)
		require.NotZero(t, done.ExitCode, "%s: %s", script, done.Stdout)
	}
}

func TestTheWorkingDirectoryAndTheProgramAreSoughtWithTheCommandsPermissions(t *testing.T) {
	t.Parallel()
	r := driverstest.Acquire(t, features())
	dir := passable(t)
	secret := filepath.Join(dir, "secret")
	require.NoError(t, os.Mkdir(secret, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tool"), []byte("#!/bin/sh\necho ran\n"), 0o700))
	_, err := r.Start(drivers.ExecRequest{Argv: []string{"true"}, Cwd: secret})
	start, ok := errors.AsType[*drivers.StartError](err)
	require.True(t, ok)
	require.Equal(t, "cwd", start.Stage)
	require.Equal(t, 126, r.Run(drivers.ExecRequest{Argv: []string{filepath.Join(dir, "tool")}}).ExitCode)
	path := []drivers.EnvVar{{Name: "PATH", Value: dir}}
	require.Equal(t, 126, r.Run(drivers.ExecRequest{Argv: []string{"tool"}, Env: path}).ExitCode)
}

func TestRootIsRefusedUnlessItIsAskedFor(t *testing.T) {
	t.Parallel()
	opts := local.Options{Root: filepath.Join(passable(t), "runtimes"), ParentCommand: []string{"x"}}
	_, err := local.New(opts)
	require.ErrorContains(t, err, "would run as root")
	opts.UID = uid
	_, err = local.New(opts)
	require.ErrorContains(t, err, "would run as root", "the group root is root enough")
	opts.UID, opts.AllowRoot = 0, true
	d, err := local.New(opts)
	require.NoError(t, err)
	require.Equal(t, "none", d.Describe().Isolation)
}

func TestADirectoryThatTheUserCannotPassIsNamed(t *testing.T) {
	t.Parallel()
	closed := filepath.Join(passable(t), "closed")
	require.NoError(t, os.Mkdir(closed, 0o700))
	_, err := local.New(local.Options{
		Root: filepath.Join(closed, "runtimes"), ParentCommand: []string{"x"}, UID: uid, GID: uid,
	})
	require.ErrorContains(t, err, closed+" ")
	require.ErrorContains(t, err, "chmod o+x")
}

func TestAFullDiskTruncatesTheOutputAndLeavesTheExitTrue(t *testing.T) {
	t.Parallel()
	r := driverstest.Acquire(t, features())
	disk := filepath.Join(passable(t), "disk")
	require.NoError(t, os.Mkdir(disk, 0o700))
	require.NoError(t, unix.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(disk, unix.MNT_DETACH)) })

	journalDir := filepath.Join(disk, "exec")
	e, err := r.Start(drivers.ExecRequest{
		Argv: []string{"sh", "-c", `head -c 5000000 /dev/zero | tr '\0' x; echo err >&2; exit 3`}, JournalDir: journalDir,
	})
	require.NoError(t, err)
	result, err := e.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, drivers.ExecExited, result.End)
	require.Equal(t, 3, result.ExitCode)
	require.Equal(t, drivers.OutputTruncated, result.Output.State)
	require.EqualValues(t, 5_000_000, result.Output.Stdout.Bytes)
	stdout, stderr := driverstest.ReadOutput(t, journalDir)
	require.Equal(t, int64(5_000_004-len(stdout)-len(stderr)), result.Output.Dropped)
	require.Equal(t, len(stdout), bytes.Count(stdout, []byte("x")))
	require.NotEmpty(t, stdout)
	read, err := execparent.ReadResult(journalDir)
	require.NoError(t, err)
	require.Equal(t, result, read)
}
