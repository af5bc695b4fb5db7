package apptest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
)

func TestMain(m *testing.M) { apptest.Main(m) }

// The seed's contract for the driver local, over HTTP through the client, on embedded Postgres.
func TestTheSeedsContractHoldsForTheLocalDriver(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t)
	tenant := e.Tenant(wire.AddEnvironment{})
	run := uuid.NewString()
	got := e.Acquire(tenant, wire.AcquireLease{HeartbeatRunID: run})

	require.Equal(t, tenant.Company.ID, got.Lease.CompanyID)
	require.Equal(t, tenant.Environment.ID, got.Lease.EnvironmentID)
	require.Equal(t, tenant.Environment.ID, got.Environment.ID)
	require.Equal(t, run, got.Lease.HeartbeatRunID)
	require.Nil(t, got.Lease.IssueID)
	require.Equal(t, wire.LeaseActive, got.Lease.Status)
	require.Equal(t, "local", got.Lease.Provider)
	require.Nil(t, got.Lease.ProviderLeaseID)
	require.Equal(t, wire.LeaseContext{}, got.LeaseContext)
	require.Equal(t, "local", got.Lease.Metadata["driver"])
	mode, has := got.Lease.Metadata["executionWorkspaceMode"]
	require.True(t, has)
	require.Nil(t, mode)

	active, err := e.Client.Leases(t.Context(), tenant.Company.ID, client.LeaseFilter{Status: wire.LeaseActive}, client.MinPosition(got.Position))
	require.NoError(t, err)
	require.Len(t, active.Items, 1)

	released, err := e.Client.ReleaseRun(t.Context(), tenant.Company.ID, run, wire.Release{})
	require.NoError(t, err)
	require.Len(t, released.Released, 1)
	require.Equal(t, got.Lease.ID, released.Released[0].Lease.ID)
	require.Equal(t, wire.LeaseReleased, released.Released[0].Lease.Status)
	require.Equal(t, tenant.Environment.ID, released.Released[0].Environment.ID)

	active, err = e.Client.Leases(t.Context(), tenant.Company.ID, client.LeaseFilter{Status: wire.LeaseActive}, client.MinPosition(released.Position))
	require.NoError(t, err)
	require.Empty(t, active.Items)
	entries, err := os.ReadDir(filepath.Join(e.DataDir, "runtimes"))
	require.NoError(t, err)
	require.Empty(t, entries, "the workspace is gone")

	again, err := e.Client.ReleaseRun(t.Context(), tenant.Company.ID, run, wire.Release{})
	require.NoError(t, err)
	require.NotNil(t, again.Released)
	require.Empty(t, again.Released)
}
