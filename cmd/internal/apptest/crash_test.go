package apptest_test

import (
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
)

func TestTwentyLeasesSurviveAKilledEngineAndCanBeReleased(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t)
	tenant := e.Tenant(wire.AddEnvironment{})
	const leases = 20
	var wg sync.WaitGroup
	for range leases {
		wg.Go(func() { e.Acquire(tenant, wire.AcquireLease{}) })
	}
	wg.Wait()
	e.Kill()
	e.Start()

	active, err := e.Client.Leases(t.Context(), tenant.Company.ID, client.LeaseFilter{Status: wire.LeaseActive})
	require.NoError(t, err)
	require.Len(t, active.Items, leases)
	// They still work.
	x, out, _ := e.Run(active.Items[0].ID, wire.StartExec{Argv: []string{"echo", "still here"}})
	require.Equal(t, "still here\n", string(out))
	require.Equal(t, 0, *x.Result.ExitCode)
	for _, l := range active.Items {
		got, err := e.Client.ReleaseLease(t.Context(), l.ID, wire.Release{}, client.Wait(waitLong))
		require.NoError(t, err)
		require.Equal(t, wire.LeaseReleased, got.Status)
	}
	entries, err := os.ReadDir(filepath.Join(e.DataDir, "runtimes"))
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestACommandOfAKilledEngineEndsUnknownAndNeverRunsAgain(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t)
	tenant := e.Tenant(wire.AddEnvironment{})
	lease := e.Acquire(tenant, wire.AcquireLease{}).Lease
	x, err := e.Client.StartExec(t.Context(), lease.ID, lease.Fence, wire.StartExec{Argv: []string{"sh", "-c", "echo ran >> log; echo $$; sleep 600"}})
	require.NoError(t, err)
	for line, err := range e.Client.ExecOutput(t.Context(), x.ID, client.OutputOptions{Follow: true}) {
		require.NoError(t, err)
		if len(line.Data) > 0 {
			break
		}
	}
	var running wire.Exec
	require.Eventually(t, func() bool {
		running, err = e.Client.Exec(t.Context(), x.ID)
		return err == nil && running.PID != nil
	}, waitLong, 10*time.Millisecond)
	e.Kill()
	e.Start()
	ended := e.Ended(x.ID)
	require.Equal(t, wire.EndUnknown, ended.Result.End)
	require.Nil(t, ended.Result.ExitCode)
	require.Eventually(t, func() bool { return syscall.Kill(*running.PID, 0) == syscall.ESRCH }, waitLong, 20*time.Millisecond,
		"the command ended with its engine")
	_, log, _ := e.Run(lease.ID, wire.StartExec{Argv: []string{"cat", "log"}})
	require.Equal(t, "ran\n", string(log))
}

func TestTheEngineSurvivesTheDeathOfItsPostgres(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t)
	tenant := e.Tenant(wire.AddEnvironment{})
	lease := e.Acquire(tenant, wire.AcquireLease{}).Lease
	e.KillPostgres()
	require.Eventually(t, func() bool {
		_, err := e.Client.Health(t.Context())
		return err == nil
	}, waitLong, 50*time.Millisecond, "the engine brings its Postgres back")
	x, out, _ := e.Run(lease.ID, wire.StartExec{Argv: []string{"echo", "hi"}})
	require.Equal(t, "hi\n", string(out))
	require.Equal(t, wire.EndExited, x.Result.End)
}

func TestASecondEngineOnOneDataDirectoryIsTurnedAway(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t)
	code, out := e.Second()
	require.Equal(t, 1, code)
	require.Contains(t, out, "is in use by")
	_, err := e.Client.Health(t.Context())
	require.NoError(t, err, "the first one goes on")
}
