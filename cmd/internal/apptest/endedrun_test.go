package apptest_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/eventstore/vault"
	"github.com/tenure-dev/tenure/migrations"
	"github.com/tenure-dev/tenure/migrations/pgtest"
	"github.com/tenure-dev/tenure/projections/environments"
)

// Case A14: the engine dies when the end of the run is in the log and its lease is not taken down, and nobody asks again.
// Meanwhile the environment is archived and its row is lost.
func TestALeaseWhoseRunEndedBeforeTheCrashIsTakenDown(t *testing.T) {
	t.Parallel()
	for _, point := range []string{
		"append.after:LeaseReleaseRequested@1", "append.after:LeaseReleaseStarted@1", "local.release.aside@1", "append.before:LeaseReleased@1",
	} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			url := pgtest.URL(t)
			pool := pgtest.Connect(t, url)
			e := apptest.Start(t, apptest.WithFaults(t, point, filepath.Join(apptest.Dir(t), "trace")), apptest.WithEnv("TENURE_DATABASE_URL="+url))
			tenant := e.Tenant(wire.AddEnvironment{})
			ended := e.Acquire(tenant, wire.AcquireLease{HeartbeatRunID: "ended"}).Lease
			goesOn := e.Acquire(tenant, wire.AcquireLease{HeartbeatRunID: "goes on"}).Lease
			_, err := e.Client.ReleaseRun(t.Context(), tenant.Company.ID, "ended", wire.Release{})
			require.Error(t, err, "the engine dies in it")
			<-e.Gone()
			dropRow(t, pool, tenant.Environment.ID)
			e.Disarm()
			e.Start()

			began := time.Now()
			var got wire.Lease
			require.Eventually(t, func() bool {
				got, err = e.Client.Lease(t.Context(), ended.ID)
				return err == nil && got.Ended()
			}, waitLong, 10*time.Millisecond)
			t.Logf("released %d ms after the engine served again", time.Since(began).Milliseconds())
			require.Equal(t, wire.LeaseReleased, got.Status)
			require.Equal(t, "success", *got.CleanupStatus)
			require.Equal(t, 1, workspaces(t, e), "the workspace of the run that goes on")
			got, err = e.Client.Lease(t.Context(), goesOn.ID)
			require.NoError(t, err)
			require.Equal(t, wire.LeaseActive, got.Status)
		})
	}
}

// dropRow loses the environment's row of the read model.
func dropRow(t *testing.T, pool *pgxpool.Pool, id uuid.UUID) {
	t.Helper()
	var generation int64
	key := environments.Model.Key()
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT generation FROM projection_pointers WHERE name = $1`, key.Name).Scan(&generation))
	tag, err := pool.Exec(t.Context(), `DELETE FROM `+key.Table(generation)+` WHERE stream = $1`, string(commands.Environments.Stream(id)))
	require.NoError(t, err)
	require.EqualValues(t, 1, tag.RowsAffected())
}

// Case A14: every lease has an expiry, so a run whose client never says that it ended keeps nothing for ever; also if its
// time ran out while the engine was down.
func TestALeaseThatNobodyReleasesEndsByItself(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	e := apptest.Start(t, apptest.WithEnv("TENURE_DATABASE_URL="+url))
	tenant := e.Tenant(wire.AddEnvironment{})
	got := e.Acquire(tenant, wire.AcquireLease{}).Lease
	require.NotNil(t, got.ExpiresAt, "an expiry that nobody asked for")
	idle := e.Acquire(tenant, wire.AcquireLease{IdleTimeout: "1s"}).Lease
	e.Kill()
	// Down until its time is over, by the database's clock.
	pool := pgtest.Connect(t, url)
	_, err := pool.Exec(t.Context(), `SELECT pg_sleep(greatest(extract(epoch FROM $1::timestamptz - clock_timestamp()), 0))`, *idle.ExpiresAt)
	require.NoError(t, err)
	e.Start()
	require.Eventually(t, func() bool {
		l, err := e.Client.Lease(t.Context(), idle.ID)
		return err == nil && l.Status == wire.LeaseExpired && *l.CleanupStatus == "success"
	}, waitLong, 20*time.Millisecond)
	require.Equal(t, 1, workspaces(t, e))
}

// Case A14: ten thousand of them. They would starve the tests beside this one.
func TestTenThousandLeasesWhoseRunsEndedBeforeTheCrashAreTakenDown(t *testing.T) {
	const ended, live = 10_000, 100
	url := pgtest.URL(t)
	pool := pgtest.Connect(t, url)
	require.NoError(t, migrations.Up(t.Context(), pool))
	store, err := pg.Open(t.Context(), pool, pg.Options{})
	require.NoError(t, err)
	defer store.Close()
	past := newPast(t, commands.New(eventstore.NewLedger(store), vault.InMemory()))
	began := time.Now()
	var group errgroup.Group
	group.SetLimit(64)
	for n := range ended + live {
		group.Go(func() error { return past.lease(context.Background(), n < ended) })
	}
	require.NoError(t, group.Wait())
	t.Logf("%d leases made in %s", ended+live, time.Since(began).Round(time.Millisecond))

	e := apptest.New(t, apptest.WithoutRace(t), apptest.WithEnv("TENURE_DATABASE_URL="+url))
	began = time.Now()
	e.Start()
	t.Logf("the engine serves after %s", time.Since(began).Round(time.Millisecond))
	left := ended
	require.Eventually(t, func() bool {
		err := pool.QueryRow(context.Background(), `SELECT $1 - count(*) FROM events WHERE name = 'LeaseReleased'`, ended).Scan(&left)
		return err == nil && left == 0
	}, 10*time.Minute, 50*time.Millisecond, "leases that stay")
	t.Logf("all are taken down %s after the start", time.Since(began).Round(time.Millisecond))
	var touched int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM events WHERE name = 'RuntimeDestroyed'`).Scan(&touched))
	require.Equal(t, ended, touched, "nothing else is touched")
	require.Zero(t, workspaces(t, e))
}

// past makes history without an engine.
type past struct {
	commands    *commands.Commands
	company     domain.CompanyID
	environment domain.EnvironmentID
	worker      domain.WorkerID
}

func newPast(t *testing.T, c *commands.Commands) *past {
	t.Helper()
	p := &past{
		commands: c, company: domain.CompanyID{UUID: uuid.New()}, environment: domain.EnvironmentID{UUID: uuid.New()},
		worker: domain.WorkerID{UUID: uuid.New()},
	}
	_, err := c.AddCompany(t.Context(), commands.Caller{}, p.company, "acme")
	require.NoError(t, err)
	_, err = c.RegisterEnvironment(t.Context(), commands.Caller{}, p.environment, environment.Registered{
		Company: p.company, Name: "local", Driver: "local", Config: []byte(`{}`),
	}, commands.NoSecretFields)
	require.NoError(t, err)
	return p
}

// lease makes an active lease, and its run's end if that came.
func (p *past) lease(ctx context.Context, ended bool) error {
	id := domain.LeaseID{UUID: uuid.New()}
	var by commands.Caller
	_, err := p.commands.AcquireLease(ctx, by, commands.Acquire{
		Lease: id, Company: p.company, Environment: p.environment, Provider: func(driver string, _ json.RawMessage) string { return driver },
		Run: id.String(), Policy: lease.PolicyEphemeral, TTL: 24 * time.Hour, IdleTimeout: time.Hour,
	})
	if err != nil {
		return err
	}
	claimed, _, err := p.commands.ClaimProvisioning(ctx, by, id, domain.NodeID{}, lease.StartProvisioning{
		Runtime: domain.RuntimeID{UUID: uuid.New()}, Worker: p.worker, Deadline: time.Now().Add(time.Hour),
	}, commands.Need{})
	if err != nil {
		return err
	}
	_, err = p.commands.FinishProvisioning(ctx, by, id, lease.Provision{
		Attempt: claimed.Attempt, Worker: p.worker, Acquisition: lease.AcquisitionCreated,
	})
	if err != nil || !ended {
		return err
	}
	_, err = p.commands.ReleaseLease(ctx, by, id, lease.Release{Reason: lease.ReasonReleased})
	return err
}
