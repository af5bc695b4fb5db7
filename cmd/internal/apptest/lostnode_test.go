package apptest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// nodeOf is the id of a process's data directory.
func nodeOf(t *testing.T, e *apptest.Engine) uuid.UUID {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(e.DataDir, "node.id"))
	require.NoError(t, err)
	return uuid.MustParse(strings.TrimSpace(string(raw)))
}

func nodeNow(t *testing.T, api *apptest.Engine, id uuid.UUID) wire.Node {
	t.Helper()
	list, err := api.Client.Nodes(t.Context())
	require.NoError(t, err)
	for _, n := range list.Items {
		if n.ID == id {
			return n
		}
	}
	t.Fatalf("node %s is not among %+v", id, list.Items)
	return wire.Node{}
}

// A worker that is killed leaves workspaces on its machine. Nobody else says anything of them: what is released waits, and
// goes when the worker is back. One that is given up ends its leases, and destroys what was forgotten when it comes back after
// all.
func TestTheWorkspacesOfAKilledWorkerWaitForItOrForAPersonsWord(t *testing.T) {
	t.Parallel()
	f := apptest.StartFleet(t, pgtest.URL(t), []string{"api", "worker", "worker"},
		apptest.WithEnv("TENURE_NODE_GRACE=2s", "TENURE_REAP_INTERVAL=1s"))
	api, lost := f[0], f[1]
	id := nodeOf(t, lost)
	tenant := api.Tenant(wire.AddEnvironment{})
	// on are leases whose workspaces are on the machine that will be lost.
	on := func(n int) (held []wire.Lease) {
		for len(held) < n {
			before := workspaces(t, lost)
			l := api.Acquire(tenant, wire.AcquireLease{}).Lease
			if workspaces(t, lost) > before {
				held = append(held, l)
			}
		}
		return held
	}
	await := func(lease uuid.UUID, holds func(wire.Lease) bool) (now wire.Lease) {
		t.Helper()
		require.Eventually(t, func() bool {
			var err error
			now, err = api.Client.Lease(t.Context(), lease)
			return err == nil && holds(now)
		}, 60*time.Second, 50*time.Millisecond)
		return now
	}
	forget := func() (wire.Node, error) {
		return api.Client.ForgetNode(t.Context(), id, wire.ForgetNode{Reason: "it burned"})
	}

	first := on(1)[0]
	_, err := forget()
	require.True(t, client.IsCode(err, "node_alive"), "%v", err)
	lost.Kill()
	released, err := api.Client.ReleaseLease(t.Context(), first.ID, wire.Release{})
	require.NoError(t, err)
	require.Equal(t, wire.LeaseReleasing, released.Status)
	waits := await(first.ID, func(l wire.Lease) bool { return l.Status == wire.LeasePendingCleanup })
	require.True(t, waits.Cleanup.NodeLost)
	require.Zero(t, waits.Cleanup.Attempts)
	require.Contains(t, *waits.Cleanup.LastError, "node_lost")
	require.Equal(t, wire.NodeLost, nodeNow(t, api, id).State)
	require.Positive(t, workspaces(t, lost))
	lost.Start()
	await(first.ID, func(l wire.Lease) bool { return l.Status == wire.LeaseReleased })

	second := on(2)
	lost.Kill()
	_, err = api.Client.ReleaseLease(t.Context(), second[0].ID, wire.Release{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		n, err := forget()
		return err == nil && n.State == wire.NodeForgotten
	}, 60*time.Second, 100*time.Millisecond)
	await(second[0].ID, func(l wire.Lease) bool { return l.Status == wire.LeaseReleased && l.Cleanup.NodeForgotten })
	await(second[1].ID, func(l wire.Lease) bool { return l.Status == wire.LeaseFailed && l.Cleanup.NodeForgotten })
	require.Positive(t, workspaces(t, lost))

	lost.Start()
	require.Eventually(t, func() bool { return workspaces(t, lost) == 0 }, 60*time.Second, 100*time.Millisecond, "what was forgotten is destroyed")
	require.Equal(t, wire.NodeAlive, nodeNow(t, api, id).State)
	on(1)
	b, err := api.Client.Balance(t.Context())
	require.NoError(t, err)
	require.Zero(t, b.Lost)
}
