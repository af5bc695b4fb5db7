package apptest_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
)

// What stands in the way of an environment's end is listed, and by force it is taken down first; also if the engine dies
// over it.
func TestAnEnvironmentEndsByForceAcrossAKill(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t, apptest.OnServer(t), apptest.WithFaults(t, "driver.release.before@1", filepath.Join(apptest.Dir(t), "trace")))
	tenant := e.Tenant(wire.AddEnvironment{})
	first := e.Acquire(tenant, wire.AcquireLease{}).Lease
	second := e.Acquire(tenant, wire.AcquireLease{}).Lease
	_, err := e.Client.StartExec(t.Context(), first.ID, first.Fence, wire.StartExec{Argv: []string{"sleep", "600"}})
	require.NoError(t, err)

	_, err = e.Client.DeleteEnvironment(t.Context(), tenant.Environment.ID, wire.RetireEnvironment{})
	var problem *client.Problem
	require.ErrorAs(t, err, &problem)
	require.Equal(t, 409, problem.Status)
	blocked := map[string]string{}
	for _, b := range problem.Blockers {
		blocked[b.ID] = b.Kind
	}
	require.Equal(t, map[string]string{first.ID.String(): "lease", second.ID.String(): "lease"}, blocked)
	require.NotEmpty(t, problem.Remediation)

	_, _ = e.Client.DeleteEnvironment(t.Context(), tenant.Environment.ID, wire.RetireEnvironment{Force: true})
	<-e.Gone()
	e.Disarm()
	e.Start()
	require.Eventually(t, func() bool {
		env, err := e.Client.Environment(t.Context(), tenant.Environment.ID)
		return err == nil && env.Status == "deleted"
	}, waitLong, 20*time.Millisecond)
	for _, lease := range []wire.Lease{first, second} {
		got, err := e.Client.Lease(t.Context(), lease.ID)
		require.NoError(t, err)
		require.Equal(t, wire.LeaseReleased, got.Status)
	}
	require.Zero(t, workspaces(t, e))
	_, _, err = e.Client.AcquireLease(t.Context(), tenant.Company.ID, wire.AcquireLease{EnvironmentID: tenant.Environment.ID, HeartbeatRunID: "late"})
	require.ErrorAs(t, err, &problem)
	require.NotEmpty(t, problem.Remediation)
}
