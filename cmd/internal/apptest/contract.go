package apptest

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

// Contract holds an engine to the seed's contract for a kind of environment, over HTTP.
func Contract(t *testing.T, e *Engine, k Kind) {
	t.Helper()
	e = e.In(t)
	tenant := k.Tenant(e)
	require.Empty(t, k.Left())
	run := uuid.NewString()
	got := e.Acquire(tenant, wire.AcquireLease{HeartbeatRunID: run})

	require.Equal(t, tenant.Company.ID, got.Lease.CompanyID)
	require.Equal(t, tenant.Environment.ID, got.Lease.EnvironmentID)
	require.Equal(t, tenant.Environment.ID, got.Environment.ID)
	require.Equal(t, run, got.Lease.HeartbeatRunID)
	require.Nil(t, got.Lease.IssueID)
	require.Nil(t, got.Lease.AgentID)
	require.Equal(t, wire.LeaseActive, got.Lease.Status)
	require.Equal(t, k.Provider, got.Lease.Provider)
	require.Equal(t, wire.LeaseContext{}, got.LeaseContext)
	require.Nil(t, got.Selection, "the request named the environment")
	if k.ProviderLeaseID == "" {
		require.Nil(t, got.Lease.ProviderLeaseID)
	} else {
		require.NotNil(t, got.Lease.ProviderLeaseID)
		require.Regexp(t, "^"+strings.ReplaceAll(k.ProviderLeaseID, "RUN", regexp.QuoteMeta(run))+"$", *got.Lease.ProviderLeaseID)
	}
	checkMetadata(t, k, got.Lease.Metadata)
	require.NotEmpty(t, k.Left(), "something is there while the lease is active")

	active := client.LeaseFilter{Status: wire.LeaseActive}
	list, err := e.Client.Leases(t.Context(), tenant.Company.ID, active, client.MinPosition(got.Position))
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
	require.Equal(t, got.Lease.Metadata, list.Items[0].Metadata)

	released, err := e.Client.ReleaseRun(t.Context(), tenant.Company.ID, run, wire.Release{})
	require.NoError(t, err)
	require.Len(t, released.Released, 1)
	require.Equal(t, got.Lease.ID, released.Released[0].Lease.ID)
	require.Equal(t, wire.LeaseReleased, released.Released[0].Lease.Status)
	require.Equal(t, tenant.Environment.ID, released.Released[0].Environment.ID)
	list, err = e.Client.Leases(t.Context(), tenant.Company.ID, active, client.MinPosition(released.Position))
	require.NoError(t, err)
	require.Empty(t, list.Items)
	require.Empty(t, k.Left(), "everything of the lease is gone")

	again, err := e.Client.ReleaseRun(t.Context(), tenant.Company.ID, run, wire.Release{})
	require.NoError(t, err)
	require.NotNil(t, again.Released)
	require.Empty(t, again.Released)
}

func checkMetadata(t *testing.T, k Kind, got map[string]any) {
	t.Helper()
	want := map[string]any{"driver": k.Driver, "executionWorkspaceMode": nil}
	maps.Copy(want, k.Metadata)
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)))
	for name, value := range want {
		if fits, ok := value.(func(any) bool); ok {
			require.True(t, fits(got[name]), "%s is %v", name, got[name])
			continue
		}
		require.Equal(t, value, got[name], name)
	}
}
