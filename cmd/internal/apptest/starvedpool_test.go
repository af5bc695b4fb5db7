package apptest_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// The smallest pool serves 64 clients that use leases, while more streams are open than it has connections and every read
// model is rebuilt: nobody waits for ever, and it never takes more than it may.
func TestFiveConnectionsServeEverybody(t *testing.T) {
	t.Parallel()
	const clients, cycles, streams, connections = 64, 2, 40, 5
	url, name := pgtest.URL(t), "starved-"+uuid.NewString()
	e := apptest.Start(t, apptest.WithEnv("TENURE_DATABASE_URL="+url+" application_name="+name+" pool_max_conns="+strconv.Itoa(connections)))
	tenant := e.Tenant(wire.AddEnvironment{})
	busy := e.Acquire(tenant, wire.AcquireLease{}).Lease.ID
	c := impatient(t, e)

	ctx, endStreams := context.WithCancel(t.Context())
	var open sync.WaitGroup
	x, err := c.StartExec(ctx, busy, wire.StartExec{Argv: []string{"sh", "-c", `while :; do head -c 100000 /dev/zero; sleep 0.1; done`}})
	require.NoError(t, err)
	for n := range streams {
		open.Go(func() {
			if n%4 == 0 {
				neverRead(t, ctx, c, x.ID)
				return
			}
			for range c.FollowEvents(ctx, 0) { //nolint:revive // only to be sent
			}
		})
	}

	var all answers
	for range clients {
		all.calls.Go(func() {
			for range cycles {
				cycle(t, c, &all, tenant)
			}
		})
	}
	models, err := c.Projections(t.Context())
	require.NoError(t, err)
	for _, m := range models.Items {
		all.call("rebuild "+m.Name, func() error { _, err := e.Client.RebuildProjection(t.Context(), m.Name); return err })
	}
	sessions := pgtest.Connect(t, url)
	ended := make(chan struct{})
	go func() { all.calls.Wait(); close(ended) }()
	for most := 0; ended != nil; {
		select {
		case <-ended:
			ended = nil
		case <-time.After(50 * time.Millisecond):
		}
		var n int
		require.NoError(t, sessions.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE application_name = $1`, name).Scan(&n))
		most = max(most, n)
		// The writer and the listener have one each beside the pool; one that is being ended may still be seen.
		require.LessOrEqual(t, most, connections+2+1)
	}
	refused := requireBearable(t, all.all(), 30*time.Second)
	slowest := time.Duration(0)
	for _, a := range all.all() {
		slowest = max(slowest, a.took)
	}
	t.Logf("%d calls, %d refused, the slowest took %s", len(all.all()), refused, slowest)
	require.Zero(t, refused)

	endStreams()
	open.Wait()
	_, err = e.Client.ReleaseLease(t.Context(), busy, wire.Release{}, client.Wait(60*time.Second))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		left, err := os.ReadDir(filepath.Join(e.DataDir, "runtimes"))
		return err == nil && len(left) == 0
	}, 30*time.Second, 20*time.Millisecond)
	for _, m := range models.Items {
		for progress, err := range e.Client.FollowRebuild(t.Context(), m.Name) {
			require.NoError(t, err)
			assert.NotEqual(t, "failed", progress.State, m.Name)
		}
	}
}

// cycle acquires a lease, looks at it and at the list, and gives it back.
func cycle(t *testing.T, c *client.Client, all *answers, tenant apptest.Tenant) {
	ctx := t.Context()
	var lease wire.Lease
	in := wire.AcquireLease{EnvironmentID: tenant.Environment.ID, HeartbeatRunID: uuid.NewString()}
	if all.make("acquire", func() error {
		got, _, err := c.AcquireLease(ctx, tenant.Company.ID, in, client.Wait(25*time.Second))
		lease = got.Lease
		return err
	}) != nil {
		return
	}
	_ = all.make("lease", func() error { _, err := c.Lease(ctx, lease.ID); return err })
	_ = all.make("list", func() error {
		_, err := c.Leases(ctx, tenant.Company.ID, client.LeaseFilter{Status: wire.LeaseActive}, client.MinPosition(lease.Position))
		return err
	})
	_ = all.make("release", func() error {
		_, err := c.ReleaseLease(ctx, lease.ID, wire.Release{}, client.Wait(25*time.Second))
		return err
	})
}

// neverRead opens an output and takes nothing of it.
func neverRead(t *testing.T, ctx context.Context, c *client.Client, exec uuid.UUID) { //nolint:revive // t comes first
	body, err := c.RawOutput(ctx, exec, client.OutputOptions{Follow: true})
	if !assert.NoError(t, err) {
		return
	}
	defer body.Close()
	<-ctx.Done()
}
