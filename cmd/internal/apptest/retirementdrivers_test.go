package apptest_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
)

// Case A18 for drivers whose runtimes are elsewhere: an environment that is deleted by force is gone when its runtimes are, or
// their leases say that they are still to be taken down; and all that this needs is on the lease.
func TestADeletedEnvironmentLeavesNoRuntimeBehind(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t, apptest.OnServer(t))
	stubborn := []any{map[string]any{"verb": "release", "times": 2, "action": "fail", "code": "no_route", "outcome": "retryable"}}
	for _, k := range []apptest.Kind{sshKind(t, e), but(fakeKind(t, e), map[string]any{"script": stubborn})} {
		t.Run(k.Provider, func(t *testing.T) {
			t.Parallel()
			e := e.In(t)
			tenant := k.Tenant(e)
			id := tenant.Environment.ID
			lease := e.Acquire(tenant, wire.AcquireLease{}).Lease
			for _, end := range []func() error{
				func() error {
					_, err := e.Client.DeleteEnvironment(t.Context(), id, wire.RetireEnvironment{})
					return err
				},
				func() error {
					_, err := e.Client.ArchiveEnvironment(t.Context(), id, wire.RetireEnvironment{})
					return err
				},
			} {
				err := end()
				requireProblem(t, err, 409, k.Provider)
				p := &client.Problem{}
				require.ErrorAs(t, err, &p)
				require.Equal(t, "environment_in_use", p.Code)
				require.Equal(t, []wire.Blocker{{Kind: "lease", ID: lease.ID.String(), Status: wire.LeaseActive}}, p.Blockers)
			}
			env, err := e.Client.DeleteEnvironment(t.Context(), id, wire.RetireEnvironment{Force: true})
			require.NoError(t, err)
			if env.Status != "deleted" {
				require.Equal(t, "deleting", env.Status)
			}
			_, _, err = e.Client.AcquireLease(t.Context(), tenant.Company.ID, wire.AcquireLease{EnvironmentID: id, HeartbeatRunID: uuid.NewString()})
			require.Error(t, err, "nobody gets in any more")
			require.Eventually(t, func() bool {
				env, err := e.Client.Environment(t.Context(), id)
				if client.IsCode(err, "environment_not_found") {
					return true
				}
				require.NoError(t, err)
				return env.Status == "deleted"
			}, waitLong, 10*time.Millisecond)
			left := k.Left()
			got, err := e.Client.Lease(t.Context(), lease.ID)
			require.NoError(t, err)
			require.True(t, len(left) == 0 || got.Status == wire.LeasePendingCleanup || got.Ended(), "%v, and the lease is %s", left, got.Status)
			require.Eventually(t, func() bool {
				got, err = e.Client.Lease(t.Context(), lease.ID)
				require.NoError(t, err)
				return got.Ended()
			}, waitLong, 10*time.Millisecond, "what the teardown needs is on the lease")
			require.Equal(t, wire.LeaseReleased, got.Status)
			require.Equal(t, "success", *got.CleanupStatus)
			require.Empty(t, k.Left())
		})
	}
}

// Case A18: an environment is archived while a runtime is being made.
func TestAnEnvironmentThatIsArchivedDuringProvisioningKeepsNoRuntime(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t, apptest.OnServer(t))
	k := but(fakeKind(t, e), map[string]any{"script": []any{map[string]any{"verb": "acquire", "action": "delay", "at": "after", "ms": 2000, "deaf": true}}})
	tenant := k.Tenant(e)
	asked, ready, err := e.Client.AcquireLease(t.Context(), tenant.Company.ID, wire.AcquireLease{
		EnvironmentID: tenant.Environment.ID, HeartbeatRunID: uuid.NewString(),
	})
	require.NoError(t, err)
	require.False(t, ready)
	require.Eventually(t, func() bool { return len(k.Left()) == 1 }, waitLong, 10*time.Millisecond, "it is made, and nobody knows")

	_, err = e.Client.ArchiveEnvironment(t.Context(), tenant.Environment.ID, wire.RetireEnvironment{})
	p := &client.Problem{}
	require.ErrorAs(t, err, &p)
	require.Equal(t, 409, p.Status)
	require.Equal(t, asked.Lease.ID.String(), p.Blockers[0].ID)
	_, err = e.Client.ArchiveEnvironment(t.Context(), tenant.Environment.ID, wire.RetireEnvironment{Force: true})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		env, err := e.Client.Environment(t.Context(), tenant.Environment.ID)
		require.NoError(t, err)
		return env.Status == "archived"
	}, waitLong, 10*time.Millisecond)
	require.Empty(t, k.Left())
	lease, err := e.Client.Lease(t.Context(), asked.Lease.ID)
	require.NoError(t, err)
	require.True(t, lease.Ended(), lease.Status)
}
