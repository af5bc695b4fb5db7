package apptest_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// onCluster is an engine on a database that can be failed over, restored and copied.
func onCluster(t *testing.T, c *pgtest.Cluster, role string) *apptest.Engine {
	t.Helper()
	return apptest.New(t, apptest.WithEnv("TENURE_DATABASE_URL="+c.URL(role)))
}

// verb runs the program against an engine.
func verb(t *testing.T, e *apptest.Engine, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), apptest.Binary(t), append(args, "--data-dir", e.DataDir)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(e.DataDir)}
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), errs.String(), exit.ExitCode()
	}
	require.NoError(t, err)
	return out.String(), errs.String(), 0
}

// isLog waits until the engine says that the log is forked, or in force.
func isLog(t *testing.T, e *apptest.Engine, want string) {
	t.Helper()
	require.Eventually(t, func() bool {
		h, err := e.Client.Health(t.Context())
		return err == nil && h.Log == want
	}, 40*time.Second, 50*time.Millisecond, "the log is not %s", want)
}

// ask asks for a lease and does not wait for it.
func ask(t *testing.T, e *apptest.Engine, tenant apptest.Tenant, run string) wire.Lease {
	t.Helper()
	got, _, err := e.Client.AcquireLease(t.Context(), tenant.Company.ID, wire.AcquireLease{EnvironmentID: tenant.Environment.ID, HeartbeatRunID: run})
	require.NoError(t, err)
	return got.Lease
}

// becomes waits for the status of a lease.
func becomes(t *testing.T, e *apptest.Engine, l wire.Lease, want string) wire.Lease {
	t.Helper()
	var got wire.Lease
	require.Eventually(t, func() bool {
		var err error
		got, err = e.Client.Lease(t.Context(), l.ID)
		return err == nil && got.Status == want
	}, 40*time.Second, 50*time.Millisecond, "the lease is not %s", want)
	return got
}

// stays holds a lease to its status for longer than any sweep takes.
func stays(t *testing.T, e *apptest.Engine, l wire.Lease, want string) {
	t.Helper()
	require.Never(t, func() bool {
		got, err := e.Client.Lease(context.WithoutCancel(t.Context()), l.ID)
		return err == nil && got.Status != want
	}, 4*time.Second, 100*time.Millisecond, "the lease does not stay %s", want)
}

// A standby that lacks the last events is promoted under a running engine: it goes on answering and taking requests, drives
// nothing until the log is adopted, and then goes on; what runs in a lease that is kept runs on.
func TestAfterAFailoverWithLossNothingIsDrivenUntilTheLogIsAdopted(t *testing.T) {
	t.Parallel()
	primary := pgtest.NewCluster(t)
	e := onCluster(t, primary, pgtest.RolePlain)
	e.Start()
	tenant := e.Tenant(wire.AddEnvironment{})
	kept := e.Acquire(tenant, wire.AcquireLease{HeartbeatRunID: "kept"}).Lease
	runs, err := e.Client.StartExec(t.Context(), kept.ID, kept.Fence, wire.StartExec{Argv: []string{"sleep", "1000"}})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		runs, err = e.Client.Exec(t.Context(), runs.ID)
		return err == nil && runs.Status == "running"
	}, 20*time.Second, 20*time.Millisecond)
	standby := primary.Backup()
	standby.Follow(nil)
	lost := e.Acquire(tenant, wire.AcquireLease{HeartbeatRunID: "lost"}).Lease
	require.Equal(t, 2, workspaces(t, e))

	primary.Stop()
	standby.Promote()
	standby.TakePlaceOf(primary)
	isLog(t, e, wire.LogForked)
	require.Contains(t, e.Log(), "THE LOG HAS FORKED")
	_, err = e.Client.Lease(t.Context(), lost.ID)
	problem, ok := errors.AsType[*client.Problem](err)
	require.True(t, ok)
	require.Equal(t, http.StatusNotFound, problem.Status)
	asked := ask(t, e, tenant, "asked")
	_, err = e.Client.RenewLease(t.Context(), kept.ID, kept.Fence)
	require.NoError(t, err)
	stays(t, e, asked, wire.LeaseProvisioning)
	require.Equal(t, 2, workspaces(t, e), "nothing was made and nothing destroyed")
	runs, err = e.Client.Exec(t.Context(), runs.ID)
	require.NoError(t, err)
	require.Equal(t, "running", runs.Status)

	out, _, code := verb(t, e, "doctor")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "tenure log adopt")
	out, stderr, code := verb(t, e, "log", "adopt", "--reason", "the primary's disk is gone")
	require.Zero(t, code, stderr)
	require.Contains(t, stderr, "adopting epoch 2")
	require.Contains(t, out, "the primary's disk is gone")
	asked = becomes(t, e, asked, wire.LeaseActive)
	require.Greater(t, asked.Fence, lost.Fence)
	require.Greater(t, asked.Fence, int64(2)<<40)
	runs, err = e.Client.Exec(t.Context(), runs.ID)
	require.NoError(t, err)
	require.Equal(t, "running", runs.Status)
	// The read models went back with the log, and show what it has now.
	shown, err := e.Client.Leases(t.Context(), tenant.Company.ID, client.LeaseFilter{}, client.MinPosition(asked.Position))
	require.NoError(t, err)
	var runIDs []string
	for _, l := range shown.Items {
		runIDs = append(runIDs, l.HeartbeatRunID)
	}
	require.ElementsMatch(t, []string{"kept", "asked"}, runIDs)
	for _, l := range []wire.Lease{kept, asked} {
		got, err := e.Client.ReleaseLease(t.Context(), l.ID, wire.Release{}, client.Wait(30*time.Second))
		require.NoError(t, err)
		require.Equal(t, wire.LeaseReleased, got.Status)
	}
	require.Equal(t, 1, workspaces(t, e), "that of the lost lease is for the reaper")
	out, _, code = verb(t, e, "log", "adopt")
	require.Equal(t, 6, code, out)
}

// A backup is restored while the engine rests. The file in its data directory knows more than the database.
func TestARestoredBackupIsNoticedByTheNodesOwnMemory(t *testing.T) {
	t.Parallel()
	original := pgtest.NewCluster(t)
	e := onCluster(t, original, pgtest.RolePlain)
	e.Start()
	tenant := e.Tenant(wire.AddEnvironment{})
	kept := e.Acquire(tenant, wire.AcquireLease{}).Lease
	backup := original.Backup()
	lost := e.Acquire(tenant, wire.AcquireLease{}).Lease
	require.Zero(t, e.Stop())
	original.Stop()
	backup.TakePlaceOf(original)

	e.Start()
	isLog(t, e, wire.LogForked)
	l, err := e.Client.Log(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"lost"}, l.Forks[0].Findings)
	require.Positive(t, l.LostAtMost)
	require.EqualValues(t, 2, l.Epoch)
	// A start that is cut short and repeated finds the same, and does not begin another epoch.
	e.Kill()
	e.Start()
	got, err := e.Client.ReleaseLease(t.Context(), kept.ID, wire.Release{})
	require.NoError(t, err)
	stays(t, e, got, wire.LeaseReleasing)
	l, err = e.Client.AdoptLog(t.Context(), wire.AdoptLog{Reason: "restored", Epoch: 2})
	require.NoError(t, err)
	require.Equal(t, wire.LogInForce, l.State)
	becomes(t, e, kept, wire.LeaseReleased)
	_, err = e.Client.Lease(t.Context(), lost.ID)
	require.Error(t, err)
	e.Acquire(tenant, wire.AcquireLease{})
}

// A copy of the database is started beside the original, with an engine of its own: it drives nothing, and the original's
// runtimes are not touched, also when the copy is adopted as an installation of its own.
func TestACopyBesideTheOriginalLeavesItsRuntimesAlone(t *testing.T) {
	t.Parallel()
	original := pgtest.NewCluster(t)
	first := onCluster(t, original, pgtest.RoleSuper)
	first.Start()
	tenant := first.Tenant(wire.AddEnvironment{MaxLeases: 2})
	held := first.Acquire(tenant, wire.AcquireLease{}).Lease
	ends := first.Acquire(tenant, wire.AcquireLease{}).Lease
	waits := ask(t, first, tenant, "waits")
	copied := original.Backup()
	copied.Start()
	second := onCluster(t, copied, pgtest.RoleSuper)
	second.Beside(first)
	second.Start()
	isLog(t, second, wire.LogForked)
	isLog(t, first, wire.LogInForce)
	former, err := first.Client.Log(t.Context())
	require.NoError(t, err)
	_, err = second.Client.ReleaseLease(t.Context(), ends.ID, wire.Release{})
	require.NoError(t, err)
	own := ask(t, second, tenant, "own")
	stays(t, second, ends, wire.LeaseReleasing)
	require.Equal(t, 2, workspaces(t, first))

	_, stderr, code := verb(t, second, "log", "adopt", "--new-installation", "--reason", "a test bed")
	require.Zero(t, code, stderr)
	l, err := second.Client.Log(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, former.Installation, l.Installation)
	require.Equal(t, former.Installation, *l.Adopted.FormerInstallation)
	for _, inherited := range []wire.Lease{held, ends, waits} {
		got, err := second.Client.Lease(t.Context(), inherited.ID)
		require.NoError(t, err)
		require.Equal(t, wire.LeaseFailed, got.Status)
		require.Nil(t, got.CleanupStatus)
	}
	becomes(t, second, own, wire.LeaseActive)
	require.Equal(t, 1, workspaces(t, second))

	require.Equal(t, 2, workspaces(t, first), "the original's runtimes are there")
	for _, l := range []wire.Lease{held, ends} {
		got, err := first.Client.Lease(t.Context(), l.ID)
		require.NoError(t, err)
		require.Equal(t, wire.LeaseActive, got.Status)
		x, err := first.Client.StartExec(t.Context(), l.ID, l.Fence, wire.StartExec{Argv: []string{"true"}})
		require.NoError(t, err)
		require.Equal(t, wire.EndExited, first.Ended(x.ID).Result.End)
	}
	isLog(t, first, wire.LogInForce)
}

// A copy of the whole data directory, database and memory and all, is known by the database's files.
func TestACopyOfADataDirectoryDrivesNothing(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t)
	tenant := e.Tenant(wire.AddEnvironment{})
	held := e.Acquire(tenant, wire.AcquireLease{}).Lease
	require.Zero(t, e.Stop())
	copied := apptest.New(t)
	out, err := exec.CommandContext(t.Context(), "cp", "-a", e.DataDir, copied.DataDir).CombinedOutput()
	require.NoError(t, err, string(out))
	copied.Start()
	isLog(t, copied, wire.LogForked)
	_, err = copied.Client.ReleaseLease(t.Context(), held.ID, wire.Release{})
	require.NoError(t, err)
	stays(t, copied, held, wire.LeaseReleasing)
	require.Equal(t, 1, workspaces(t, copied))
	e.Start()
	isLog(t, e, wire.LogInForce)
	got, err := e.Client.ReleaseLease(t.Context(), held.ID, wire.Release{}, client.Wait(30*time.Second))
	require.NoError(t, err)
	require.Equal(t, wire.LeaseReleased, got.Status)
}

// A file of the node's memory that cannot be read is no reason to drive as if nothing were remembered.
func TestAMemoryThatCannotBeReadKeepsTheEngineFromStarting(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t)
	require.Zero(t, e.Stop())
	path := filepath.Join(e.DataDir, "log.remembered")
	require.NoError(t, os.WriteFile(path, []byte(`{"marks":[{"position":`), 0o600))
	require.False(t, e.TryStart())
	require.Contains(t, e.Log(), path)
	require.Contains(t, e.Log(), "remove it")
	require.NoError(t, os.Remove(path))
	e.Start()
}
