package apptest_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// pair is two engines on one database, and clients of both that repeat nothing by themselves: an answer that a patient
// client would hide is a failure here.
type pair struct {
	t       *testing.T
	engines [2]*apptest.Engine
	clients [2]*client.Client
	pool    *pgxpool.Pool
}

// patient keeps engines beside each other from taking one that a busy machine does not let speak for dead.
func patient() apptest.Option { return apptest.WithArgs("--worker-ttl", "60s") }

func startPair(t *testing.T) *pair {
	t.Helper()
	url := pgtest.URL(t)
	return startPairOn(t, url, [2]apptest.Option{apptest.WithEnv("TENURE_DATABASE_URL=" + url), apptest.WithEnv("TENURE_DATABASE_URL=" + url)})
}

// startPairOn starts each engine in its own way, on the database that url leads to directly.
func startPairOn(t *testing.T, url string, ways [2]apptest.Option) *pair {
	t.Helper()
	p := &pair{t: t, pool: pgtest.Connect(t, url)}
	p.engines[0] = apptest.Start(t, patient(), ways[0])
	p.engines[1] = apptest.New(t, patient(), ways[1])
	p.engines[1].Beside(p.engines[0])
	p.engines[1].Start()
	for i := range p.engines {
		p.connect(i)
	}
	return p
}

// connect makes the client of an engine that was started.
func (p *pair) connect(i int) {
	p.t.Helper()
	dir := p.engines[i].DataDir
	address, err := os.ReadFile(filepath.Join(dir, "address"))
	require.NoError(p.t, err)
	key, err := os.ReadFile(filepath.Join(dir, "admin.key"))
	require.NoError(p.t, err)
	p.clients[i], err = client.New(strings.TrimSpace(string(address)), strings.TrimSpace(string(key)), client.WithoutRetries())
	require.NoError(p.t, err)
	p.t.Cleanup(p.clients[i].CloseIdleConnections)
}

// acquire asks for a lease and waits until it is active, however long others have the slot.
func (p *pair) acquire(c *client.Client, tenant apptest.Tenant, opts ...client.CallOption) (wire.Lease, bool) {
	got, _, err := c.AcquireLease(context.Background(), tenant.Company.ID,
		wire.AcquireLease{EnvironmentID: tenant.Environment.ID, HeartbeatRunID: uuid.NewString()}, append(opts, client.Wait(waitLong))...)
	lease := got.Lease
	for err == nil && (lease.Status == wire.LeaseQueued || lease.Status == wire.LeaseProvisioning) {
		lease, err = c.Lease(context.Background(), lease.ID, client.Wait(waitLong))
	}
	return lease, assert.NoError(p.t, err) && assert.Equal(p.t, wire.LeaseActive, lease.Status)
}

// ended releases a lease, if it is not over yet, and waits for its end.
func (p *pair) ended(c *client.Client, id uuid.UUID) wire.Lease {
	lease, err := c.ReleaseLease(context.Background(), id, wire.Release{}, client.Wait(waitLong))
	for err == nil && lease.Status == wire.LeaseReleasing {
		lease, err = c.Lease(context.Background(), id, client.Wait(waitLong))
	}
	assert.NoError(p.t, err)
	return lease
}

// refused reports whether err is a clear refusal: not now, or never again. Any other error fails.
func (p *pair) refused(err error) bool {
	problem, ok := errors.AsType[*client.Problem](err)
	if err == nil {
		return false
	}
	return assert.True(p.t, ok, "%v", err) && assert.Contains(p.t, []int{http.StatusConflict, http.StatusGone}, problem.Status, problem.Detail) && assert.NotEmpty(p.t, problem.Remediation)
}

// count is how many events of that name a stream's category and id have.
func (p *pair) count(id uuid.UUID, name string) (n int) {
	p.t.Helper()
	require.NoError(p.t, p.pool.QueryRow(p.t.Context(), `SELECT count(*) FROM events WHERE stream = 'lease-' || $1::text AND name = $2`, id, name).Scan(&n))
	return n
}

// Case A16, and the races of every step: whoever is faster wins, everybody is told the truth, nobody sees an error of the
// engine, and nothing is left behind.
func TestRacesHaveOneOutcome(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.races()
	t.Cleanup(func() {
		for _, e := range p.engines {
			assert.Zero(t, workspaces(t, e), "every workspace is gone")
			for _, bad := range []string{"deadlock", "panic", "DATA RACE"} {
				assert.NotContains(t, e.Log(), bad)
			}
		}
	})
}

// races are those of every step, all at once.
func (p *pair) races() {
	for name, race := range map[string]func(*testing.T, *pair){
		"fifty clients on one slot":    fiftyClients,
		"one key twenty times at once": oneKey,
		"release against claim":        releaseAgainstClaim,
		"cancel against grant":         cancelAgainstGrant,
		"release against exec start":   releaseAgainstExec,
		"twenty releases of one lease": manyReleases,
	} {
		p.t.Run(name, func(t *testing.T) {
			t.Parallel()
			sub := *p
			sub.t = t
			for i, e := range p.engines {
				sub.engines[i] = e.In(t)
			}
			race(t, &sub)
		})
	}
}

// fiftyClients: each has the slot once and for itself, and gives it back through the other engine.
func fiftyClients(t *testing.T, p *pair) {
	tenant := p.engines[0].Tenant(wire.AddEnvironment{MaxLeases: 1})
	var holders atomic.Int32
	var group sync.WaitGroup
	for n := range 50 {
		c, other := p.clients[n%2], p.clients[(n+1)%2]
		group.Go(func() {
			lease, ok := p.acquire(c, tenant)
			if !ok {
				return
			}
			assert.Equal(t, int32(1), holders.Add(1), "the slot has one holder")
			holders.Add(-1)
			assert.Equal(t, wire.LeaseReleased, p.ended(other, lease.ID).Status)
		})
	}
	group.Wait()
	// The log says so too: at no position were there two.
	var most, all int
	require.NoError(t, p.pool.QueryRow(t.Context(), `
		SELECT max(held), count(*) FILTER (WHERE name = 'LeaseGranted')
		  FROM (SELECT name, sum(CASE name WHEN 'LeaseGranted' THEN 1 ELSE -1 END) OVER (ORDER BY position) AS held
		          FROM events WHERE company_id = $1 AND name IN ('LeaseGranted', 'LeaseReleased')) e`, tenant.Company.ID).Scan(&most, &all))
	require.Equal(t, 1, most)
	require.Equal(t, 50, all)
}

// oneKey: one lease, whichever engine was asked; another request with the key is refused, and after the release the key
// still stands for that lease.
func oneKey(t *testing.T, p *pair) {
	tenant := p.engines[0].Tenant(wire.AddEnvironment{})
	key, in := uuid.NewString(), wire.AcquireLease{EnvironmentID: tenant.Environment.ID, HeartbeatRunID: uuid.NewString()}
	var mu sync.Mutex
	leases := map[uuid.UUID]bool{}
	var group sync.WaitGroup
	for n := range 20 {
		group.Go(func() {
			got, _, err := p.clients[n%2].AcquireLease(context.Background(), tenant.Company.ID, in, client.IdempotencyKey(key), client.Wait(waitLong))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			leases[got.Lease.ID] = true
		})
	}
	group.Wait()
	require.Len(t, leases, 1)
	var requested int
	require.NoError(t, p.pool.QueryRow(t.Context(), `SELECT count(*) FROM events WHERE company_id = $1 AND name = 'LeaseRequested'`,
		tenant.Company.ID).Scan(&requested))
	require.Equal(t, 1, requested)

	other := in
	other.HeartbeatRunID = uuid.NewString()
	_, _, err := p.clients[1].AcquireLease(t.Context(), tenant.Company.ID, other, client.IdempotencyKey(key))
	problem, ok := errors.AsType[*client.Problem](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, http.StatusUnprocessableEntity, problem.Status)

	for id := range leases {
		require.Equal(t, wire.LeaseReleased, p.ended(p.clients[0], id).Status)
		got, _, err := p.clients[1].AcquireLease(t.Context(), tenant.Company.ID, in, client.IdempotencyKey(key), client.MinPosition(1))
		require.NoError(t, err)
		require.Equal(t, id, got.Lease.ID)
		require.Equal(t, wire.LeaseReleased, got.Lease.Status)
	}
}

// releaseAgainstClaim: the release comes while a worker claims and makes the workspace.
func releaseAgainstClaim(t *testing.T, p *pair) {
	tenant := p.engines[0].Tenant(wire.AddEnvironment{})
	var group sync.WaitGroup
	for n := range 20 {
		group.Go(func() {
			got, _, err := p.clients[n%2].AcquireLease(context.Background(), tenant.Company.ID,
				wire.AcquireLease{EnvironmentID: tenant.Environment.ID, HeartbeatRunID: uuid.NewString()}, client.Wait(0))
			if err != nil {
				t.Error(err)
				return
			}
			lease := p.ended(p.clients[(n+1)%2], got.Lease.ID)
			assert.Contains(t, []string{wire.LeaseReleased, wire.LeaseCanceled, wire.LeaseFailed}, lease.Status)
		})
	}
	group.Wait()
}

// cancelAgainstGrant: the holder releases while the one who waits for its slot gives up, at once or when the slot has just
// become its own.
func cancelAgainstGrant(t *testing.T, p *pair) {
	tenant := p.engines[0].Tenant(wire.AddEnvironment{MaxLeases: 1})
	canceled := 0
	for n := range 10 {
		holder, ok := p.acquire(p.clients[0], tenant)
		require.True(t, ok)
		got, _, err := p.clients[1].AcquireLease(t.Context(), tenant.Company.ID,
			wire.AcquireLease{EnvironmentID: tenant.Environment.ID, HeartbeatRunID: uuid.NewString()}, client.Wait(0))
		require.NoError(t, err)
		require.Equal(t, wire.LeaseQueued, got.Lease.Status)
		var group sync.WaitGroup
		free := make(chan struct{})
		group.Go(func() {
			defer close(free)
			assert.Equal(t, wire.LeaseReleased, p.ended(p.clients[0], holder.ID).Status)
		})
		var cancelErr error
		group.Go(func() {
			if n%2 == 1 {
				<-free
			}
			_, cancelErr = p.clients[1].CancelLease(context.Background(), got.Lease.ID, wire.Cancel{})
		})
		group.Wait()
		granted := p.count(got.Lease.ID, "LeaseGranted")
		if p.refused(cancelErr) {
			require.Equal(t, 1, granted)
			require.Equal(t, wire.LeaseReleased, p.ended(p.clients[1], got.Lease.ID).Status)
			continue
		}
		canceled++
		lease, err := p.clients[0].Lease(t.Context(), got.Lease.ID, client.Wait(waitLong))
		require.NoError(t, err)
		require.Contains(t, []string{wire.LeaseCanceled, wire.LeaseReleased, wire.LeaseReleasing}, lease.Status)
		p.ended(p.clients[0], got.Lease.ID)
	}
	t.Logf("%d of 10 were canceled in time", canceled)
}

// releaseAgainstExec: the command is refused, or it is accepted and comes to an end; nothing runs on in a released lease.
func releaseAgainstExec(t *testing.T, p *pair) {
	tenant := p.engines[0].Tenant(wire.AddEnvironment{})
	var group sync.WaitGroup
	for n := range 10 {
		group.Go(func() {
			lease, ok := p.acquire(p.clients[n%2], tenant)
			if !ok {
				return
			}
			var both sync.WaitGroup
			both.Go(func() { assert.Equal(t, wire.LeaseReleased, p.ended(p.clients[n%2], lease.ID).Status) })
			both.Go(func() {
				x, err := p.clients[(n+1)%2].StartExec(context.Background(), lease.ID, lease.Fence, wire.StartExec{Argv: []string{"sleep", "600"}})
				if p.refused(err) {
					return
				}
				for err == nil && x.Status != wire.ExecEnded {
					x, err = p.clients[n%2].Exec(context.Background(), x.ID, client.Wait(waitLong))
				}
				assert.NoError(t, err)
			})
			both.Wait()
		})
	}
	group.Wait()
}

// manyReleases: each is answered, one is written.
func manyReleases(t *testing.T, p *pair) {
	tenant := p.engines[0].Tenant(wire.AddEnvironment{})
	lease, ok := p.acquire(p.clients[0], tenant)
	require.True(t, ok)
	var group sync.WaitGroup
	for n := range 20 {
		group.Go(func() { assert.Equal(t, wire.LeaseReleased, p.ended(p.clients[n%2], lease.ID).Status) })
	}
	group.Wait()
	require.Equal(t, 1, p.count(lease.ID, "LeaseReleaseRequested"))
	require.Equal(t, 1, p.count(lease.ID, "LeaseReleased"))
}
