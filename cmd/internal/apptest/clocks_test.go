package apptest_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// Case A19: two engines on one database, one of them on a machine whose clock is an hour off, and is set while it runs. The
// database's clock decides: nothing ends early or late, nobody takes over what a live one does.
func TestAClockThatIsWrongDecidesNothing(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	clock := apptest.NewClock(t)
	clock.Set(time.Hour)
	// Beats and appends tell an engine the time; here they are rare and the looks at deadlines are many.
	often := apptest.WithArgs("--sweep-interval", "50ms")
	way := func(more ...apptest.Option) apptest.Option {
		return func(e *apptest.Engine) {
			for _, o := range append(more, often, apptest.WithEnv("TENURE_DATABASE_URL="+url)) {
				o(e)
			}
		}
	}
	p := startPairOn(t, url, [2]apptest.Option{way(), way(apptest.WithClock(t, clock))})
	tenant := p.engines[0].Tenant(wire.AddEnvironment{})

	// Far more than a slow machine needs from one renewal to the next, and far less than an hour.
	const idle = time.Minute
	untouched := p.engines[1].Acquire(tenant, wire.AcquireLease{}).Lease
	kept := p.engines[1].Acquire(tenant, wire.AcquireLease{IdleTimeout: idle.String()}).Lease
	doomed := [2]wire.Lease{}
	commands := [2]wire.Exec{}
	for i, e := range p.engines {
		doomed[i] = e.Acquire(tenant, wire.AcquireLease{TTL: "40s"}).Lease
		var err error
		lease := e.Acquire(tenant, wire.AcquireLease{}).Lease
		commands[i], err = p.clients[i].StartExec(t.Context(), lease.ID, lease.Fence, wire.StartExec{Argv: []string{"sleep", "7"}})
		require.NoError(t, err)
	}
	for n, wrong := range []time.Duration{time.Hour, -time.Hour, time.Hour, -time.Hour, 0} {
		clock.Set(wrong)
		useOnce(t, p.engines[n%2], tenant)
		clock.Set(-wrong)
		// A second with nothing but looks at deadlines.
		sleepAt(t, p.pool, time.Second)
		for i, c := range p.clients {
			asked := p.now()
			renewed, err := c.RenewLease(t.Context(), kept.ID, kept.Fence)
			require.NoError(t, err, "renewed by %d in time", i)
			p.endsWithin(renewed, idle, asked)
			asked = p.now()
			got, err := c.Lease(t.Context(), untouched.ID)
			require.NoError(t, err)
			require.Equal(t, wire.LeaseActive, got.Status)
			p.endsWithin(got, time.Hour, asked)
			workers, err := c.Workers(t.Context())
			require.NoError(t, err)
			require.Len(t, workers.Items, 2)
			for _, w := range workers.Items {
				require.True(t, w.Alive)
			}
		}
	}
	var ends sync.WaitGroup
	for i := range p.engines {
		ends.Go(func() {
			x := p.engines[i].Ended(commands[i].ID)
			if x.Result.End != wire.EndExited {
				t.Errorf("the command of engine %d ended by %s: somebody took it over", i, x.Result.End)
			}
		})
	}
	ends.Wait()
	for i, l := range doomed {
		require.Eventually(t, func() bool {
			got, err := p.clients[1-i].Lease(t.Context(), l.ID)
			return err == nil && got.Status == wire.LeaseExpired
		}, waitLong, 20*time.Millisecond)
		p.expiredInTime(l)
	}
	// Also one that starts with the wrong time takes nothing over and is taken for alive.
	clock.Set(-time.Hour)
	p.engines[1].Kill()
	p.engines[1].Start()
	p.connect(1)
	useOnce(t, p.engines[1], tenant)
	require.Equal(t, wire.LeaseReleased, p.ended(p.clients[1], untouched.ID).Status)
	p.everyTimeIsTheDatabases()
}

// now is the time by the database's clock.
func (p *pair) now() (at time.Time) {
	p.t.Helper()
	require.NoError(p.t, p.pool.QueryRow(p.t.Context(), `SELECT clock_timestamp()`).Scan(&at))
	return at
}

// endsWithin requires that a lease that was asked for since then ends within the limit by the database's clock, and that an
// answer to a renewal says how long that is, as of some moment since.
func (p *pair) endsWithin(l wire.Lease, limit time.Duration, asked time.Time) {
	p.t.Helper()
	left := l.ExpiresAt.Sub(p.now())
	require.LessOrEqual(p.t, left, limit)
	require.Positive(p.t, left)
	if l.RemainingMs != nil {
		const about = 2000 // as the engine knows the database's clock
		require.GreaterOrEqual(p.t, *l.RemainingMs, left.Milliseconds()-about)
		require.LessOrEqual(p.t, *l.RemainingMs, l.ExpiresAt.Sub(asked).Milliseconds()+about)
	}
}

// expiredInTime requires that the end of a lease was asked for when its time was over, and soon after.
func (p *pair) expiredInTime(l wire.Lease) {
	p.t.Helper()
	var late time.Duration
	require.NoError(p.t, p.pool.QueryRow(p.t.Context(), `
		SELECT recorded_at - $2::timestamptz FROM events WHERE stream = 'lease-' || $1::text AND name = 'LeaseReleaseRequested'`,
		l.ID, *l.ExpiresAt).Scan(&late))
	require.GreaterOrEqual(p.t, late, time.Duration(0), "not early")
	require.Less(p.t, late, 2*time.Minute, "not late")
}

// everyTimeIsTheDatabases requires of the whole log that its times do not go back, that the deadlines in it count from the
// time of their events, and that every claim had one attempt.
func (p *pair) everyTimeIsTheDatabases() {
	p.t.Helper()
	var back, off, again, events int
	require.NoError(p.t, p.pool.QueryRow(p.t.Context(), `
		SELECT count(*) FILTER (WHERE recorded_at < before), count(*)
		  FROM (SELECT recorded_at, lag(recorded_at) OVER (ORDER BY position) AS before FROM events) e`).Scan(&back, &events))
	require.Zero(p.t, back, "recordedAt goes back")
	require.Positive(p.t, events)
	require.NoError(p.t, p.pool.QueryRow(p.t.Context(), `
		SELECT count(*) FILTER (WHERE abs(extract(epoch FROM deadline - recorded_at - bound)) > 100), count(*) FILTER (WHERE attempt > 1)
		  FROM (SELECT recorded_at, (body->>'deadline')::timestamptz AS deadline, (body->>'attempt')::int AS attempt,
		               CASE name WHEN 'LeaseProvisioningStarted' THEN interval '5 minutes' ELSE interval '2 minutes' END AS bound
		          FROM (SELECT name, recorded_at, convert_from(payload, 'UTF8')::jsonb AS body FROM events
		                 WHERE name IN ('LeaseProvisioningStarted', 'LeaseReleaseStarted')) e) e`).Scan(&off, &again))
	require.Zero(p.t, off, "a deadline counts from another time")
	require.Zero(p.t, again, "a claim was taken over")
	require.Zero(p.t, countEvents(p.t, p.pool, "LeaseProvisioningAbandoned"))
}
