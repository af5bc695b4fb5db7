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

// Case A17: a lease is released while its runtime is being made, which takes long. The release is accepted at once, another
// lease of the environment is not in its way, and what was made is gone in the end. It has the time of the first call, so it does
// not share the machine with the others.
func TestALeaseReleasedWhileItStartsLeavesNothing(t *testing.T) {
	hold, slow := apptest.WithHold(t, "local.acquire.built")
	e := apptest.Start(t, apptest.OnServer(t), slow)
	tenant := e.Tenant(wire.AddEnvironment{})
	got, _, err := e.Client.AcquireLease(t.Context(), tenant.Company.ID,
		wire.AcquireLease{EnvironmentID: tenant.Environment.ID, HeartbeatRunID: uuid.NewString()}, client.Wait(0))
	require.NoError(t, err)
	id := got.Lease.ID
	hold.Reached()
	require.Equal(t, 1, workspaces(t, e), "it is half made")

	l, err := e.Client.ReleaseLease(t.Context(), id, wire.Release{}, client.Wait(0))
	require.NoError(t, err)
	require.Equal(t, wire.LeaseReleasing, l.Status, "accepted at once: what it waits for is still held")
	useOnce(t, e, tenant)
	l, err = e.Client.Lease(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, wire.LeaseReleasing, l.Status, "it is not over while something may come of it")

	hold.LetGo()
	require.Equal(t, wire.LeaseReleased, await(t, e, id).Status)
	require.Zero(t, workspaces(t, e), "what was made late is gone")
	useOnce(t, e, tenant)
}

// await waits for the end of a lease.
func await(t *testing.T, e *apptest.Engine, id uuid.UUID) (l wire.Lease) {
	t.Helper()
	require.Eventually(t, func() bool {
		var err error
		l, err = e.Client.Lease(t.Context(), id)
		return err == nil && l.Ended()
	}, waitLong, 20*time.Millisecond)
	return l
}
