package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/execparent"
	"github.com/tenure-dev/tenure/drivers/internal/proc"
	"github.com/tenure-dev/tenure/drivers/journal"
	"github.com/tenure-dev/tenure/drivers/rundir/rundirtest"
)

func TestMain(m *testing.M) { driverstest.Main(m, execparent.Main) }

// newDriver runs commands as the user of the test, root included; roottest has the rest.
func newDriver(t *testing.T) drivers.Driver {
	t.Helper()
	return newAt(t, filepath.Join(t.TempDir(), "runtimes"))
}

func newAt(t *testing.T, root string) *Driver {
	t.Helper()
	d, err := New(Options{
		Root: root, ParentCommand: []string{"/proc/self/exe", driverstest.ParentArg}, AllowRoot: true, Drain: 3 * time.Second,
	})
	require.NoError(t, err)
	return d
}

func features() driverstest.Features {
	f := driverstest.Features{
		New: newDriver, Peer: func(t *testing.T, d drivers.Driver) drivers.Driver { return newAt(t, d.(*Driver).opts.Root) },
		BadConfigs: map[string]json.RawMessage{
			"config":         json.RawMessage(`[]`),
			"config.image":   json.RawMessage(`{"image": "debian"}`),
			"config.path":    json.RawMessage(`{"path": "/bin"}`),
			"config.path[1]": json.RawMessage(`{"path": ["/bin", "bin"]}`),
		},
		Posix: true, WholeTree: true, HostProcesses: true,
	}
	return rundirtest.Keeps(f, func(d drivers.Driver) string { return d.(*Driver).opts.Root })
}

func TestTheLocalDriverKeepsItsPromises(t *testing.T) {
	t.Parallel()
	driverstest.Run(t, features())
}

func TestARuntimeSurvivesTheDriverThatMadeIt(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "runtimes")
	req := driverstest.AcquireRequest(features())
	_, err := newAt(t, root).Acquire(t.Context(), req)
	require.NoError(t, err)
	d := newAt(t, root)
	rt, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	require.True(t, rt.Resumed)
	require.Nil(t, rt.ProviderLeaseID)
	identity := drivers.IdentityOf(rt.Metadata)
	require.NotEmpty(t, identity)
	require.Equal(t, drivers.Metadata(map[string]any{
		"workspace": filepath.Join(root, req.RuntimeID, "workspace"), "runtimeIdentity": identity,
	}), rt.Metadata)
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: drivers.Handle{RuntimeID: req.RuntimeID}}))
	requireEmpty(t, root)
}

func TestAMarkerKeepsOutOlderHoldersAndOtherInstallations(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	req := driverstest.AcquireRequest(features())
	_, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	newer := req
	newer.Fence, newer.LeaseID = req.Fence+1, uuid.NewString()
	_, err = d.Acquire(t.Context(), newer)
	require.NoError(t, err)
	listed, err := drivers.ListRuntimes(t.Context(), d, drivers.ListRequest{Installation: driverstest.Installation})
	require.NoError(t, err)
	require.Equal(t, newer.LeaseID, listed[0].LeaseID)
	for code, r := range map[string]drivers.AcquireRequest{"stale_fence": req, "foreign_runtime": func() drivers.AcquireRequest {
		other := newer
		other.Installation = "another"
		return other
	}()} {
		_, err = d.Acquire(t.Context(), r)
		f, ok := errors.AsType[*drivers.Failure](err)
		require.True(t, ok)
		require.Equal(t, code, f.Code)
	}
}

func TestAnIDThatIsNoDirectoryNameIsRefused(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	for _, id := range []string{"", ".", "..", "../x", "a/b", ".new-x", "a\x00b"} {
		req := driverstest.AcquireRequest(features())
		req.RuntimeID = id
		_, err := d.Acquire(t.Context(), req)
		require.Equal(t, drivers.OutcomeDefinite, drivers.OutcomeOf(err), "%q", id)
		require.Error(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: drivers.Handle{RuntimeID: id}}))
	}
}

func TestReleaseRemovesWhatItsOwnersForbade(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	keep := filepath.Join(outside, "keep")
	require.NoError(t, os.WriteFile(keep, []byte("x"), 0o600))
	r := driverstest.Acquire(t, features())
	done := r.Sh(`mkdir -p a/b/c d && echo x > a/b/c/f && ln -s ` + outside + ` link && ln -s ` + outside + ` d/link &&
		chmod 0 a/b/c a/b a && chmod 0 . && chmod 0 "$TMPDIR"`)
	require.Zero(t, done.ExitCode, "%s", done.Stderr)
	require.NoError(t, r.Release())
	requireEmpty(t, filepath.Dir(filepath.Dir(r.Field("workspace"))))
	require.FileExists(t, keep)
}

func TestReleaseFinishesWhatACrashLeft(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "runtimes")
	d := newAt(t, root)
	req := driverstest.AcquireRequest(features())
	_, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	require.NoError(t, os.Rename(filepath.Join(root, req.RuntimeID), filepath.Join(root, ".gone-"+req.RuntimeID+"-123")))
	require.NoError(t, os.MkdirAll(filepath.Join(root, ".new-"+req.RuntimeID+"-9", "workspace"), 0o700))
	other := filepath.Join(root, ".new-"+req.RuntimeID+"-other-9")
	require.NoError(t, os.Mkdir(other, 0o700))
	listed, err := d.ListRuntimes(t.Context(), drivers.ListRequest{Installation: driverstest.Installation})
	require.NoError(t, err)
	require.Len(t, listed, 1)
	require.Equal(t, req.RuntimeID, listed[0].RuntimeID)
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: drivers.Handle{RuntimeID: req.RuntimeID}}))
	require.DirExists(t, other)
	require.NoError(t, os.Remove(other))
	requireEmpty(t, root)
}

func TestReleaseByAnotherProcessEndsTheRecordedParentsAndLooseProcesses(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "runtimes")
	first := newAt(t, root)
	f := features()
	f.New = func(*testing.T) drivers.Driver { return first }
	r := driverstest.Acquire(t, f)
	e, err := r.Start(drivers.ExecRequest{Argv: []string{"sh", "-c", `echo begun; exec sleep 600`}})
	require.NoError(t, err)
	driverstest.AwaitOutput(t, e, "begun")

	// A second driver on the same root knows nothing of the first one's memory.
	require.NoError(t, newAt(t, root).Release(t.Context(), drivers.ReleaseRequest{Handle: r.Handle}))
	result, err := e.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, drivers.ExecKilled, result.End)
	require.Equal(t, "parent_signaled", result.Why)
	requireEmpty(t, root)
}

func TestAKilledParentMakesTheEndUnknownAndLeavesNothingAfterRelease(t *testing.T) {
	t.Parallel()
	r := driverstest.Acquire(t, features())
	e, err := r.Start(drivers.ExecRequest{Argv: []string{"sh", "-c", `setsid sh -c 'echo $$; exec sleep 600.25' & exec sleep 600`}})
	require.NoError(t, err)
	driverstest.AwaitOutput(t, e, "\n")
	stdout, _ := driverstest.ReadOutput(t, e.JournalDir)
	var loose int
	_, err = fmt.Sscan(string(stdout), &loose)
	require.NoError(t, err)
	daemon, err := proc.Identity(loose)
	require.NoError(t, err)
	parent := e.Exec.(*execparent.Process).Parent()
	require.NoError(t, proc.Signal(parent.PID, parent.StartTime, unix.SIGKILL))

	result, err := e.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, drivers.ExecUnknown, result.End)
	require.Equal(t, "parent_gone", result.Why)
	require.Equal(t, drivers.OutputLost, result.Output.State)
	require.Equal(t, int64(len(stdout)), result.Output.Stdout.Bytes)
	require.True(t, proc.Alive(daemon), "nobody could name it yet")
	require.NoError(t, r.Release())
	require.False(t, proc.Alive(daemon))
}

func TestTheResultIsAlsoAFile(t *testing.T) {
	t.Parallel()
	r := driverstest.Acquire(t, features())
	e, err := r.Start(drivers.ExecRequest{Argv: []string{"sh", "-c", "echo out; exit 5"}})
	require.NoError(t, err)
	result, err := e.Wait(t.Context())
	require.NoError(t, err)
	read, err := execparent.ReadResult(e.JournalDir)
	require.NoError(t, err)
	require.Equal(t, result, read)
	recovered, err := journal.Recover(e.JournalDir)
	require.NoError(t, err)
	require.Equal(t, result.Output, recovered)
}

func TestAStartThatIsCanceledLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	r := driverstest.Acquire(t, features())
	for i := range 10 {
		cause := errors.New("the client gave up")
		ctx, cancel := context.WithCancelCause(t.Context())
		timer := time.AfterFunc(time.Duration(i)*2*time.Millisecond, func() { cancel(cause) })
		e, err := drivers.StartExec(ctx, r.Driver, drivers.ExecRequest{
			Handle: r.Handle, Argv: []string{"sleep", "600"}, JournalDir: filepath.Join(t.TempDir(), "j"),
		})
		timer.Stop()
		if err != nil {
			require.ErrorIs(t, err, cause)
			continue
		}
		require.NoError(t, e.Kill(t.Context(), "started after all"))
	}
	require.NoError(t, r.Release())
	left, err := r.Driver.(*Driver).runtimes.Survivors(r.Handle.RuntimeID)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestAParentThatCannotBeStartedIsSaidSo(t *testing.T) {
	t.Parallel()
	for _, command := range [][]string{{"/no/such/tenure"}, {"/bin/true"}} {
		d, err := New(Options{Root: t.TempDir(), ParentCommand: command, AllowRoot: true})
		require.NoError(t, err)
		req := driverstest.AcquireRequest(features())
		_, err = d.Acquire(t.Context(), req)
		require.NoError(t, err)
		_, err = d.StartExec(t.Context(), drivers.ExecRequest{
			Handle: drivers.Handle{RuntimeID: req.RuntimeID, Fence: req.Fence}, Argv: []string{"true"}, JournalDir: filepath.Join(t.TempDir(), "j"),
		})
		start, ok := errors.AsType[*drivers.StartError](err)
		require.True(t, ok)
		require.Equal(t, "parent", start.Stage)
	}
}

func TestOptionsThatCannotWorkAreNamed(t *testing.T) {
	t.Parallel()
	_, err := New(Options{Root: "relative", UID: -1})
	require.ErrorContains(t, err, "Root")
	require.ErrorContains(t, err, "ParentCommand")
	require.ErrorContains(t, err, "UID")
}

func requireEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}
