package apptest_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// Case A14, the variant with another live instance: two engines on one database, each with workspaces of its own. What
// lives on one is never driven by the other, which restarts meanwhile.
func TestAnEngineLeavesAloneWhatLivesOnAnother(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	first := apptest.Start(t, apptest.WithEnv("TENURE_DATABASE_URL="+url))
	second := apptest.New(t, apptest.WithEnv("TENURE_DATABASE_URL="+url))
	second.Beside(first)
	second.Start()
	tenant := first.Tenant(wire.AddEnvironment{})
	held := first.Acquire(tenant, wire.AcquireLease{}).Lease
	var wg sync.WaitGroup
	for _, e := range []*apptest.Engine{first, second} {
		for range 2 {
			wg.Go(func() {
				for range 10 {
					useOnce(t, e, tenant)
				}
			})
		}
	}
	wg.Wait()
	second.Kill()
	second.Start()
	useOnce(t, second, tenant)

	got, err := second.Client.Lease(t.Context(), held.ID)
	require.NoError(t, err)
	require.Equal(t, wire.LeaseActive, got.Status)
	require.Equal(t, 1, workspaces(t, first)+workspaces(t, second), "only the lease that is held has a workspace, somewhere")
	got, err = second.Client.ReleaseLease(t.Context(), held.ID, wire.Release{}, client.Wait(30*time.Second))
	require.NoError(t, err)
	require.Equal(t, wire.LeaseReleased, got.Status)
	require.Zero(t, workspaces(t, first)+workspaces(t, second))
}

// useOnce acquires a lease, runs a command in it and releases it, all through one engine.
func useOnce(t *testing.T, e *apptest.Engine, tenant apptest.Tenant) {
	t.Helper()
	got, _, err := e.Client.AcquireLease(t.Context(), tenant.Company.ID,
		wire.AcquireLease{EnvironmentID: tenant.Environment.ID, HeartbeatRunID: uuid.NewString()}, client.Wait(30*time.Second))
	if err != nil {
		t.Error(err)
		return
	}
	x, err := e.Client.StartExec(t.Context(), got.Lease.ID, wire.StartExec{Argv: []string{"true"}})
	if err == nil {
		x, err = e.Client.Exec(t.Context(), x.ID, client.Wait(30*time.Second))
	}
	if err != nil || x.Result == nil || x.Result.End != wire.EndExited {
		t.Errorf("exec: %v, %+v", err, x.Result)
	}
	lease, err := e.Client.ReleaseLease(t.Context(), got.Lease.ID, wire.Release{}, client.Wait(30*time.Second))
	if err != nil || lease.Status != wire.LeaseReleased {
		t.Errorf("release: %v, %s", err, lease.Status)
	}
}

func workspaces(t *testing.T, e *apptest.Engine) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(e.DataDir, "runtimes"))
	require.NoError(t, err)
	return len(entries)
}
