package apptest_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// Case A25: a replay of history makes, destroys and runs nothing. The log is the ledger here: a driver is never called
// without an event before it.
func TestAReplayOfHistoryDoesNothing(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	e := apptest.Start(t, apptest.WithEnv("TENURE_DATABASE_URL="+url))
	tenant := e.Tenant(wire.AddEnvironment{})
	const leases = 100
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range leases/8 + 1 {
				lease := e.Acquire(tenant, wire.AcquireLease{}).Lease
				e.Run(lease.ID, wire.StartExec{Argv: []string{"true"}})
				if _, err := e.Client.ReleaseLease(t.Context(), lease.ID, wire.Release{}, client.Wait(waitLong)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	defer pool.Close()
	before := head(t, pool)

	require.Equal(t, 0, e.Stop())
	_, err = pool.Exec(t.Context(), `UPDATE consumer_offsets SET position = 0`)
	require.NoError(t, err)
	e.Start()
	for progress, err := range e.Client.FollowRebuild(t.Context(), "all") {
		require.NoError(t, err)
		require.NotEqual(t, wire.RebuildFailed, progress.State)
	}
	require.Eventually(t, func() bool {
		var position int64
		err := pool.QueryRow(t.Context(), `SELECT max(position) FROM consumer_offsets`).Scan(&position)
		return err == nil && position >= before
	}, waitLong, 20*time.Millisecond, "the worker read its history again")
	// A command of ours goes behind everything that the replay could have led to.
	e.Run(e.Acquire(tenant, wire.AcquireLease{}).Lease.ID, wire.StartExec{Argv: []string{"true"}})
	var others int
	require.NoError(t, pool.QueryRow(t.Context(), `
		SELECT count(*) FROM events a
		 WHERE a.position > $1
		   AND a.stream IN (SELECT b.stream FROM events b WHERE b.position <= $1 AND b.name IN ('LeaseRequested', 'RuntimeIntended', 'ExecRequested'))`,
		before).Scan(&others))
	require.Zero(t, others, "no old lease, runtime or command has a new event")
	entries, err := os.ReadDir(filepath.Join(e.DataDir, "runtimes"))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func head(t *testing.T, pool *pgxpool.Pool) (position int64) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT max(position) FROM events`).Scan(&position))
	return position
}
