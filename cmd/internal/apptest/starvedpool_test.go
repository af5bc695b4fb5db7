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

// alone is how long a client takes for a cycle, alone on a machine that can serve all of them at once.
const alone = 500 * time.Millisecond

// The smallest pool serves 64 clients that use leases, while more streams are open than it has connections and every read
// model is rebuilt: nobody waits for ever, and it never takes more than it may. How many they are on a slower machine is
// measured by one who is alone.
func TestFiveConnectionsServeEverybody(t *testing.T) {
	t.Parallel()
	const most, cycles, streams, connections = 64, 2, 40, 5
	url, name := pgtest.URL(t), "starved-"+uuid.NewString()
	e := apptest.Start(t, apptest.WithEnv("TENURE_DATABASE_URL="+url+" application_name="+name+" pool_max_conns="+strconv.Itoa(connections)))
	tenant := e.Tenant(wire.AddEnvironment{})
	busy := e.Acquire(tenant, wire.AcquireLease{}).Lease.ID
	p := &crowd{t: t, tenant: tenant, once: impatient(t, e), again: e.Client}
	began := time.Now()
	p.cycle()
	clients := max(most/4, min(most, int(most*alone/time.Since(began))))

	ctx, endStreams := context.WithCancel(t.Context())
	var open sync.WaitGroup
	x, err := e.Client.StartExec(ctx, busy, apptest.Fence(t, e.Client, busy), wire.StartExec{Argv: []string{"sh", "-c", `while :; do head -c 100000 /dev/zero; sleep 0.1; done`}})
	require.NoError(t, err)
	for n := range streams {
		open.Go(func() {
			if n%4 == 0 {
				p.neverRead(ctx, x.ID)
				return
			}
			for _, err := range e.Client.FollowEvents(ctx, 0) {
				assert.True(t, err == nil || ctx.Err() != nil, err)
			}
		})
	}

	for range clients {
		p.answers.calls.Go(func() {
			for range cycles {
				p.cycle()
			}
		})
	}
	models, err := e.Client.Projections(t.Context())
	require.NoError(t, err)
	for _, m := range models.Items {
		p.answers.call("rebuild "+m.Name, func() error { _, err := e.Client.RebuildProjection(t.Context(), m.Name); return err })
	}
	sessions := pgtest.Connect(t, url)
	ended := make(chan struct{})
	go func() { p.answers.calls.Wait(); close(ended) }()
	var pace pace
	for lastAllowed, looks := time.Now(), 0; ended != nil; looks++ {
		if looks%lookEvery == 0 {
			pace.look()
		}
		select {
		case <-ended:
			ended = nil
		case <-time.After(50 * time.Millisecond):
		}
		var n int
		require.NoError(t, sessions.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE application_name = $1`, name).Scan(&n))
		// The writer, the listener and the liveness have one each beside the pool. Those that are being ended are seen until the
		// server comes to it.
		if n <= connections+3 {
			lastAllowed = time.Now()
		}
		require.LessOrEqual(t, n, 2*(connections+3))
		require.Less(t, time.Since(lastAllowed), 20*time.Second, "%d connections, and they stay", n)
	}
	all := p.answers.all()
	refused, slowest := requireBearable(t, all, 2*time.Minute), time.Duration(0)
	for _, a := range all {
		slowest = max(slowest, a.took)
	}
	t.Logf("%d clients, %d calls, %d refused, the slowest took %s; the machine was %.1f times slower", clients, len(all), refused, slowest,
		pace.slower())
	require.Less(t, float64(refused), float64(len(all))*min(pace.slower()/10, 0.9), "hardly anybody is told to wait")

	endStreams()
	open.Wait()
	_, err = e.Client.ReleaseLease(t.Context(), busy, wire.Release{}, client.Wait(waitLong))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		left, err := os.ReadDir(filepath.Join(e.DataDir, "runtimes"))
		return err == nil && len(left) == 0
	}, waitLong, 20*time.Millisecond)
	for _, m := range models.Items {
		for progress, err := range e.Client.FollowRebuild(t.Context(), m.Name) {
			require.NoError(t, err)
			assert.NotEqual(t, "failed", progress.State, m.Name)
		}
	}
}

// cycle acquires a lease, looks at it and at the list, and gives it back. What is refused for now is asked again.
func (p *crowd) cycle() {
	ctx := p.t.Context()
	var lease wire.Lease
	in := wire.AcquireLease{EnvironmentID: p.tenant.Environment.ID, HeartbeatRunID: uuid.NewString()}
	key := client.IdempotencyKey(in.HeartbeatRunID)
	p.ask("acquire", func(c *client.Client) error {
		got, _, err := c.AcquireLease(ctx, p.tenant.Company.ID, in, key, client.Wait(20*time.Second))
		lease = got.Lease
		return err
	})
	p.ask("lease", func(c *client.Client) error { _, err := c.Lease(ctx, lease.ID); return err })
	p.ask("list", func(c *client.Client) error {
		_, err := c.Leases(ctx, p.tenant.Company.ID, client.LeaseFilter{Status: wire.LeaseActive}, client.MinPosition(lease.Position))
		return err
	})
	p.ask("release", func(c *client.Client) error {
		_, err := c.ReleaseLease(ctx, lease.ID, wire.Release{}, client.Wait(20*time.Second))
		return err
	})
}

// crowd is who wants something of an engine at the same time.
type crowd struct {
	t       *testing.T
	tenant  apptest.Tenant
	answers answers
	// once repeats nothing, again does.
	once, again *client.Client
}

func (p *crowd) ask(what string, do func(c *client.Client) error) {
	err := p.answers.make(what, func() error { return do(p.once) })
	for began := time.Now(); err != nil && bearable(err) && time.Since(began) < waitLong; {
		err = do(p.again)
	}
	assert.NoError(p.t, err, what)
}

// neverRead opens an output and takes nothing of it.
func (p *crowd) neverRead(ctx context.Context, exec uuid.UUID) {
	body, err := p.again.RawOutput(ctx, exec, client.OutputOptions{Follow: true})
	if err != nil {
		p.t.Error(err)
		return
	}
	defer body.Close()
	<-ctx.Done()
}
