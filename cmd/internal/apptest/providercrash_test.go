package apptest_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
)

// An engine dies by SIGKILL with leases of several drivers, and one of a driver that is a process of its own: the leases go on
// with the next engine, the old processes are gone, and in the end nothing is left on any host.
func TestLeasesOfEveryDriverSurviveAKilledEngine(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t)
	kinds := []apptest.Kind{sshKind(t, e), bubblewrapKind(t, e), fakeKind(t, e)}
	leases := map[string]wire.Lease{}
	running := map[string]wire.Exec{}
	for i, k := range kinds {
		lease := e.Acquire(k.Tenant(e), wire.AcquireLease{}).Lease
		leases[k.Provider] = lease
		argv := []string{"sh", "-c", "echo made > file; echo begun; exec sleep 7712" + itoa(i)}
		if k.NoShell {
			argv = []string{"sleep", "600"}
		}
		x, err := e.Client.StartExec(t.Context(), lease.ID, wire.StartExec{Argv: argv})
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			x, err = e.Client.Exec(t.Context(), x.ID)
			return err == nil && x.Status == "running"
		}, waitLong, 10*time.Millisecond)
		running[k.Provider] = x
		if !k.NoShell {
			require.Eventually(t, func() bool { return apptest.Running("sleep", "7712"+itoa(i)) }, waitLong, 10*time.Millisecond)
		}
	}
	workers := e.Workers()
	require.Len(t, workers, 2, "of bubblewrap and fake")
	e.Kill()
	e.Start()

	for i, k := range kinds {
		t.Run(k.Provider, func(t *testing.T) {
			before := leases[k.Provider]
			lease, err := e.Client.Lease(t.Context(), before.ID)
			require.NoError(t, err)
			require.Equal(t, wire.LeaseActive, lease.Status)
			require.Equal(t, before.ProviderLeaseID, lease.ProviderLeaseID)
			require.Equal(t, before.Metadata, lease.Metadata)
			require.NotEmpty(t, k.Left())

			require.Equal(t, wire.EndUnknown, e.Ended(running[k.Provider].ID).Result.End, "it never runs again, and nobody knows its end")
			if k.NoShell {
				x, out, _ := e.Run(lease.ID, wire.StartExec{Argv: []string{"echo", "again"}})
				require.Equal(t, 0, *x.Result.ExitCode)
				require.Equal(t, "again\n", string(out))
			} else {
				x, out, errs := e.Run(lease.ID, wire.StartExec{Argv: []string{"cat", "file"}})
				require.Equal(t, 0, *x.Result.ExitCode, "%s", errs)
				require.Equal(t, "made\n", string(out), "the workspace is the same")
			}
			got, err := e.Client.ReleaseLease(t.Context(), lease.ID, wire.Release{}, client.Wait(waitLong))
			require.NoError(t, err)
			require.Equal(t, wire.LeaseReleased, got.Status)
			require.Equal(t, "success", *got.CleanupStatus)
			require.Empty(t, k.Left())
			require.False(t, apptest.Running("sleep", "7712"+itoa(i)), "what the lease ran has ended with it")
		})
	}
	for key, pid := range workers {
		require.Eventually(t, func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }, waitLong, 10*time.Millisecond,
			"the old worker of %s", key)
	}
	for key, pid := range e.Workers() {
		require.NotEqual(t, workers[key], pid)
	}
}
