package apptest_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/migrations"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// gap is longer than what counts as one, and idleOver less than that.
const (
	gap      = 16 * time.Second
	idleOver = 13 * time.Second
)

// An idle lease whose time would be over by the clock lives on after a time in which nobody could renew it, whoever was
// away: the engine, the way to the database, or an engine that was stopped in its tracks. Its hard end does not move.
func TestIdleLeasesOutliveATimeInWhichNobodyCouldRenewThem(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]func(t *testing.T, e *apptest.Engine, proxy *pgtest.Proxy, wait func()){
		"the engine is killed": func(_ *testing.T, e *apptest.Engine, _ *pgtest.Proxy, wait func()) {
			e.Kill()
			wait()
			e.Start()
		},
		"the engine is stopped and goes on": func(_ *testing.T, e *apptest.Engine, _ *pgtest.Proxy, wait func()) {
			e.Signal(syscall.SIGSTOP)
			wait()
			e.Signal(syscall.SIGCONT)
		},
		"the database is away": func(t *testing.T, e *apptest.Engine, proxy *pgtest.Proxy, wait func()) {
			proxy.Refuse(true)
			wait()
			proxy.Refuse(false)
			require.Eventually(t, func() bool {
				_, err := e.Client.Health(t.Context())
				return err == nil
			}, time.Minute, 50*time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.URL(t)
			proxy, through := pgtest.NewProxy(t, url)
			pool := pgtest.Connect(t, url)
			e := apptest.Start(t, apptest.WithEnv("TENURE_DATABASE_URL="+through), apptest.WithArgs("--worker-ttl", "40s"))
			tenant := e.Tenant(wire.AddEnvironment{})
			// The hard end comes within the gap, the idle one too.
			hard := e.Acquire(tenant, wire.AcquireLease{TTL: idleOver.String()}).Lease
			idle := e.Acquire(tenant, wire.AcquireLease{IdleTimeout: idleOver.String()}).Lease
			away(t, e, proxy, func() { sleepAt(t, pool, gap) })

			// The very first thing may be a renewal.
			renewed, err := e.Client.RenewLease(t.Context(), idle.ID, idle.Fence)
			require.NoError(t, err)
			require.Equal(t, wire.LeaseActive, renewed.Status)
			require.Eventually(t, func() bool {
				got, err := e.Client.Lease(t.Context(), hard.ID)
				return err == nil && got.Status == wire.LeaseExpired
			}, time.Minute, 50*time.Millisecond)
			require.Equal(t, 1, countEvents(t, pool, "RenewalsInterrupted"))
			clock, err := e.Client.Clock(t.Context())
			require.NoError(t, err)
			require.InDelta(t, gap.Milliseconds(), clock.LastGap.ShiftMs, 12_000)
			// And then it ends, when nobody renews it although everybody could.
			require.Eventually(t, func() bool {
				got, err := e.Client.Lease(t.Context(), idle.ID)
				return err == nil && got.Status == wire.LeaseExpired
			}, 2*time.Minute, 100*time.Millisecond)
			require.Equal(t, 1, countEvents(t, pool, "RenewalsInterrupted"))
			require.GreaterOrEqual(t, countEvents(t, pool, "LeaseExpiryWarned"), 1)
		})
	}
}

// sleepAt lets time pass by the database's clock.
func sleepAt(t *testing.T, pool *pgxpool.Pool, d time.Duration) {
	t.Helper()
	_, err := pool.Exec(t.Context(), `SELECT pg_sleep($1)`, d.Seconds())
	require.NoError(t, err)
}

func countEvents(t *testing.T, pool *pgxpool.Pool, name string) (n int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM events WHERE name = $1`, name).Scan(&n))
	return n
}

// setClock is a database whose clock can be set: its sessions find our clock_timestamp before Postgres's own.
func setClock(t *testing.T) (url string, set func(wrong time.Duration), pool *pgxpool.Pool) {
	t.Helper()
	url = pgtest.URL(t) + ",pg_catalog"
	pool = pgtest.Connect(t, url)
	require.NoError(t, migrations.Up(context.Background(), pool))
	for _, statement := range []string{
		`CREATE TABLE wrong_clock (wrong interval NOT NULL)`,
		`INSERT INTO wrong_clock VALUES ('0')`,
		`CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE SET search_path FROM CURRENT
		 AS 'SELECT pg_catalog.clock_timestamp() + wrong FROM wrong_clock'`,
	} {
		_, err := pool.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	return url, func(wrong time.Duration) {
		_, err := pool.Exec(t.Context(), `UPDATE wrong_clock SET wrong = $1`, wrong)
		require.NoError(t, err)
	}, pool
}

// inDoubt waits until the engine does not trust the database's clock.
func inDoubt(t *testing.T, e *apptest.Engine) (clock wire.Clock) {
	t.Helper()
	require.Eventually(t, func() bool {
		var err error
		clock, err = e.Client.Clock(t.Context())
		return err == nil && !clock.Sure
	}, time.Minute, 20*time.Millisecond)
	return clock
}

// The database's clock is set an hour ahead: nothing ends by it until it has agreed with itself for half a minute, or
// somebody says that it is right. An idle deadline skips the hour; a hard end does not.
func TestTheDatabasesClockIsSetAhead(t *testing.T) {
	t.Parallel()
	url, set, pool := setClock(t)
	e := apptest.Start(t, apptest.WithEnv("TENURE_DATABASE_URL="+url))
	tenant := e.Tenant(wire.AddEnvironment{})
	hard := e.Acquire(tenant, wire.AcquireLease{TTL: "30m"}).Lease
	idle := e.Acquire(tenant, wire.AcquireLease{IdleTimeout: "30m"}).Lease
	set(time.Hour)
	clock := inDoubt(t, e)
	require.InDelta(t, time.Hour.Milliseconds(), clock.JumpMs, 30_000)
	_, err := impatient(t, e).RenewLease(t.Context(), hard.ID, hard.Fence)
	var p *client.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, 503, p.Status, "it cannot be told whether it is over")
	sleepAt(t, pool, 3*time.Second)
	for _, l := range []wire.Lease{hard, idle} {
		got, err := e.Client.Lease(t.Context(), l.ID)
		require.NoError(t, err)
		require.Equal(t, wire.LeaseActive, got.Status)
	}
	require.Contains(t, e.Log(), "the database's clock jumped")
	confirmed, err := e.Client.ConfirmClock(t.Context(), wire.ConfirmClock{Reason: "it was an hour behind"})
	require.NoError(t, err)
	require.True(t, confirmed.Sure)
	require.Eventually(t, func() bool {
		got, err := e.Client.Lease(t.Context(), hard.ID)
		return err == nil && got.Status == wire.LeaseExpired
	}, time.Minute, 50*time.Millisecond)
	got, err := e.Client.RenewLease(t.Context(), idle.ID, idle.Fence)
	require.NoError(t, err)
	require.Equal(t, wire.LeaseActive, got.Status)

	// And back: the log's time stands still, and nothing ends early.
	set(0)
	inDoubt(t, e)
	_, err = e.Client.ConfirmClock(t.Context(), wire.ConfirmClock{})
	require.NoError(t, err)
	useOnce(t, e, tenant)
	got, err = e.Client.RenewLease(t.Context(), idle.ID, idle.Fence)
	require.NoError(t, err)
	require.Equal(t, wire.LeaseActive, got.Status)
	var back int
	require.NoError(t, pool.QueryRow(t.Context(), `
		SELECT count(*) FILTER (WHERE recorded_at < before)
		  FROM (SELECT recorded_at, lag(recorded_at) OVER (ORDER BY position) AS before FROM events) e`).Scan(&back))
	require.Zero(t, back)
}
