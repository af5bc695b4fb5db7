package apptest_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// Case A19 as it stands, scaled down: two engines on one database, one with its clock ten minutes ahead and the other's ten
// minutes behind, and then the other way round; a lease that is renewed six times within its idle timeout.
func TestALeaseThatIsRenewedLivesWhicheverEnginesClockIsAhead(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	clocks := [2]*apptest.Clock{apptest.NewClock(t), apptest.NewClock(t)}
	const wrong = 10 * time.Minute
	clocks[0].Set(wrong)
	clocks[1].Set(-wrong)
	way := func(c *apptest.Clock) apptest.Option {
		return func(e *apptest.Engine) {
			for _, o := range []apptest.Option{apptest.WithClock(t, c), apptest.WithEnv("TENURE_DATABASE_URL=" + url), apptest.WithArgs("--sweep-interval", "50ms")} {
				o(e)
			}
		}
	}
	p := startPairOn(t, url, [2]apptest.Option{way(clocks[0]), way(clocks[1])})
	tenant := p.engines[0].Tenant(wire.AddEnvironment{})
	const idle = 12 * time.Second
	held := [2]wire.Lease{}
	for i, e := range p.engines {
		held[i] = e.Acquire(tenant, wire.AcquireLease{IdleTimeout: idle.String()}).Lease
	}
	for n := range 15 {
		sleepAt(t, p.pool, idle/6)
		if n == 7 {
			clocks[0].Set(-wrong)
			clocks[1].Set(wrong)
		}
		for i := range held {
			asked := p.now()
			got, err := p.clients[(n+i)%2].RenewLease(t.Context(), held[i].ID, held[i].Fence)
			require.NoError(t, err, "renewed %d times", n)
			require.Equal(t, wire.LeaseActive, got.Status)
			p.endsWithin(got, idle, asked)
		}
	}
	for _, name := range []string{"LeaseReleaseRequested", "RenewalsInterrupted", "LeaseProvisioningAbandoned"} {
		require.Zero(t, countEvents(t, p.pool, name), name)
	}
	for i, e := range p.engines {
		require.NotContains(t, e.Log(), "clock jumped", "engine %d: its own machine's clock is none of its business", i)
	}
	// When nobody renews them, they end when the database says so.
	for i := range held {
		require.Eventually(t, func() bool {
			got, err := p.clients[1-i].Lease(t.Context(), held[i].ID)
			return err == nil && got.Status == wire.LeaseExpired
		}, waitLong, 50*time.Millisecond)
	}
	p.everyTimeIsTheDatabases()
}

// Case A19, the variant: an engine is stopped in its tracks while it makes a runtime, for twice the time that its claim
// holds. Another one makes it meanwhile. What the first one brings when it goes on is refused, and the lease has one holder.
func TestTheClaimOfAnEngineThatWasStoppedIsRefusedWhenItGoesOn(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	const liveness = 10 * time.Second
	way := func(e *apptest.Engine) {
		apptest.WithEnv("TENURE_DATABASE_URL=" + url)(e)
		apptest.WithArgs("--worker-ttl", liveness.String())(e)
	}
	hold, held := apptest.WithHold(t, "driver.acquire.after")
	p := startPairOn(t, url, [2]apptest.Option{func(e *apptest.Engine) { way(e); held(e) }, way})
	stopped, other := p.engines[0], p.engines[1]
	tenant := sandboxes(t, other) // what is on one machine only, no other one makes
	// Which engine takes a lease is a race; the one that waits at the point has lost it once it is stopped.
	var lease wire.Lease
	for !hold.IsReached() {
		require.Eventually(t, func() bool {
			got, _, err := p.clients[0].AcquireLease(t.Context(), tenant.Company.ID,
				wire.AcquireLease{EnvironmentID: tenant.Environment.ID, HeartbeatRunID: uuid.NewString()})
			lease = got.Lease
			return err == nil
		}, waitLong, time.Millisecond)
		require.Eventually(t, func() bool {
			got, err := p.clients[1].Lease(t.Context(), lease.ID)
			return hold.IsReached() || err == nil && got.Status == wire.LeaseActive
		}, waitLong, 10*time.Millisecond)
	}
	stopped.Signal(syscall.SIGSTOP)
	sleepAt(t, p.pool, 2*liveness)
	active, err := p.clients[1].Lease(context.Background(), lease.ID, client.Wait(60*time.Second))
	require.NoError(t, err)
	require.Equal(t, wire.LeaseActive, active.Status)
	require.Equal(t, 1, p.count(lease.ID, "LeaseProvisioned"))

	hold.LetGo()
	stopped.Signal(syscall.SIGCONT)
	// It has said its word when it has ended another lease in order.
	useOnce(t, stopped, tenant)
	x, err := p.clients[1].StartExec(t.Context(), lease.ID, lease.Fence, wire.StartExec{Argv: []string{"true"}})
	require.NoError(t, err)
	require.Equal(t, wire.EndExited, other.Ended(x.ID).Result.End)
	require.Equal(t, 1, p.count(lease.ID, "LeaseProvisioned"))
	require.Equal(t, 2, p.count(lease.ID, "LeaseProvisioningStarted"))
	now, err := p.clients[0].Lease(t.Context(), lease.ID)
	require.NoError(t, err)
	require.Equal(t, wire.LeaseActive, now.Status)
	require.Equal(t, active.Fence, now.Fence)
	var holders int
	require.NoError(t, p.pool.QueryRow(t.Context(), `
		SELECT count(*) FROM events h JOIN events s ON s.name = 'LeaseProvisioningStarted' AND s.stream = 'lease-' || $1::text
		   AND h.stream = 'runtime-' || (convert_from(s.payload, 'UTF8')::jsonb->>'runtimeId')
		 WHERE h.name = 'RuntimeHeld' AND s.version = (SELECT min(version) FROM events WHERE stream = s.stream AND name = s.name)`,
		lease.ID).Scan(&holders))
	require.Equal(t, 1, holders)
	require.Equal(t, wire.LeaseReleased, p.ended(p.clients[1], lease.ID).Status)
}
