package apptest

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

// OutliveKill ends an engine by SIGKILL while it has a lease of each kind and a command in it. The leases go on with the next
// engine, the processes of plugins are new ones, and in the end nothing is left on any host. It returns the plugins whose
// processes were there.
func OutliveKill(t *testing.T, e *Engine, kinds ...Kind) []string {
	t.Helper()
	mark := strconv.Itoa(int(uuid.New().ID()))
	leases := map[string]wire.Lease{}
	running := map[string]wire.Exec{}
	for i, k := range kinds {
		lease := e.Acquire(k.Tenant(e), wire.AcquireLease{}).Lease
		leases[k.Provider] = lease
		argv := []string{"sh", "-c", "echo made > file; echo begun; exec sleep " + mark + strconv.Itoa(i)}
		if k.NoShell {
			argv = []string{"sleep", "600"}
		}
		x, err := e.Client.StartExec(t.Context(), lease.ID, lease.Fence, wire.StartExec{Argv: argv})
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			x, err = e.Client.Exec(t.Context(), x.ID)
			return err == nil && x.Status == "running"
		}, waitLong, 10*time.Millisecond)
		running[k.Provider] = x
		if !k.NoShell {
			require.Eventually(t, func() bool { return Running("sleep", mark+strconv.Itoa(i)) }, waitLong, 10*time.Millisecond)
		}
	}
	workers := e.Workers()
	e.Kill()
	e.Start()

	for i, k := range kinds {
		t.Run(k.Provider, func(t *testing.T) {
			e := e.In(t)
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
			require.True(t, Gone("sleep", mark+strconv.Itoa(i)), "what the lease ran has ended with it")
		})
	}
	for key, pid := range workers {
		require.Eventually(t, func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }, waitLong, 10*time.Millisecond,
			"the old worker of %s", key)
	}
	for key, pid := range e.Workers() {
		require.NotEqual(t, workers[key], pid)
	}
	return slices.Sorted(maps.Keys(workers))
}
