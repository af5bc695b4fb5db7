package apptest_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// Cases A09, A13, A17 and A18 across processes: one server takes the request, a worker has the trouble with the provider, and another
// server is asked what becomes of it.
func TestTroubleWithAProviderIsSeenAndEndedThroughEveryServer(t *testing.T) {
	t.Parallel()
	f := apptest.StartFleet(t, pgtest.URL(t), []string{"api", "api", "worker", "worker"})
	type step = map[string]any
	for name, c := range map[string]struct {
		script step
		see    func(t *testing.T, one, other *apptest.Engine, tenant apptest.Tenant)
	}{
		"A09, no capacity": {
			step{"verb": "acquire", "action": "fail", "code": "no_capacity", "message": "all nodes are taken", "outcome": "retryable"},
			func(t *testing.T, one, other *apptest.Engine, tenant apptest.Tenant) {
				id := ask(t, one, tenant, uuid.NewString()).ID
				var why wire.Explanation
				require.Eventually(t, func() bool {
					var err error
					why, err = other.Client.ExplainLease(t.Context(), id)
					return err == nil && why.Work != nil && why.Work.NextTry != nil && why.Work.LastError != nil
				}, waitLong, 20*time.Millisecond)
				require.Contains(t, *why.Work.LastError, "all nodes are taken")
				l, err := other.Client.Lease(t.Context(), id)
				require.NoError(t, err)
				require.GreaterOrEqual(t, why.Work.NextTry.Sub(l.CreatedAt), 11*time.Second, "asking again soon is of no use")
				_, err = other.Client.CancelLease(t.Context(), id, wire.Cancel{})
				require.NoError(t, err)
				require.Equal(t, wire.LeaseCanceled, await(t, one, id).Status)
			},
		},
		"A13, the provider is away when the lease ends": {
			step{"verb": "release", "times": 2, "action": "fail", "code": "no_route", "outcome": "retryable"},
			func(t *testing.T, one, other *apptest.Engine, tenant apptest.Tenant) {
				id := one.Acquire(tenant, wire.AcquireLease{}).Lease.ID
				_, err := other.Client.ReleaseLease(t.Context(), id, wire.Release{}, client.Wait(0))
				require.NoError(t, err)
				l := await(t, one, id)
				require.Equal(t, wire.LeaseReleased, l.Status)
				require.Equal(t, "success", *l.CleanupStatus)
				require.Equal(t, 3, l.Cleanup.Attempts)
			},
		},
		"A17, released while it is made": {
			step{"verb": "acquire", "action": "delay", "ms": 3000, "deaf": true},
			func(t *testing.T, one, other *apptest.Engine, tenant apptest.Tenant) {
				id := ask(t, one, tenant, uuid.NewString()).ID
				require.Eventually(t, func() bool {
					why, err := other.Client.ExplainLease(t.Context(), id)
					return err == nil && why.Work != nil && why.Work.Running
				}, waitLong, 20*time.Millisecond)
				l, err := other.Client.ReleaseLease(t.Context(), id, wire.Release{}, client.Wait(0))
				require.NoError(t, err)
				require.False(t, l.Ended(), "it is not over while something may come of it")
				require.True(t, await(t, one, id).Ended())
			},
		},
		"A18, its environment is deleted": {
			step{"verb": "release", "attempt": 1, "action": "fail", "code": "no_route", "outcome": "retryable"},
			func(t *testing.T, one, other *apptest.Engine, tenant apptest.Tenant) {
				id := one.Acquire(tenant, wire.AcquireLease{}).Lease.ID
				_, err := other.Client.DeleteEnvironment(t.Context(), tenant.Environment.ID, wire.RetireEnvironment{Force: true})
				require.NoError(t, err)
				require.Equal(t, "success", *await(t, one, id).CleanupStatus)
				require.Eventually(t, func() bool {
					env, err := one.Client.Environment(t.Context(), tenant.Environment.ID)
					return client.IsCode(err, "environment_not_found") || err == nil && env.Status == "deleted"
				}, waitLong, 20*time.Millisecond)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, other := f[0].In(t), f[1].In(t)
			config, err := json.Marshal(map[string]any{"provider": "fake", "script": []step{c.script}})
			require.NoError(t, err)
			c.see(t, one, other, one.Tenant(wire.AddEnvironment{Name: "fake", Driver: "sandbox", Config: config}))
		})
	}
}
