package pgtest

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/migrations/pgtest/pgcluster"
)

// Cluster is a Postgres of a test's own, which can be backed up, copied, followed and promoted. It listens on a socket alone.
// Its database tenure belongs to the role plain, an ordinary one; the role super may do everything.
type Cluster struct {
	t testing.TB
	c *pgcluster.Cluster
}

// The roles of a cluster.
const (
	// RolePlain may do what a role may that owns its database and nothing else.
	RolePlain = pgcluster.RolePlain
	RoleSuper = pgcluster.RoleSuper
)

// NewCluster makes a cluster and starts it; it ends after the test.
func NewCluster(t testing.TB) *Cluster {
	t.Helper()
	c, err := pgcluster.New(context.Background(), nil)
	require.NoError(t, err)
	return of(t, c)
}

func of(t testing.TB, c *pgcluster.Cluster) *Cluster {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of the cluster in %s:\n%s", c.Base(), c.Log())
		}
		require.NoError(t, c.Remove(context.Background()))
	})
	return &Cluster{t: t, c: c}
}

// Start starts the server where it listens.
func (c *Cluster) Start() {
	c.t.Helper()
	require.NoError(c.t, c.c.Start(context.Background()))
}

// Stop ends it, and every connection to it, in order.
func (c *Cluster) Stop() {
	c.t.Helper()
	require.NoError(c.t, c.c.Stop(context.Background(), pgcluster.Fast))
}

// URL is a connection string for a role.
func (c *Cluster) URL(role string) string { return c.c.URL(role, pgcluster.Database) }

// Connect is a pool on the database tenure, closed after the test. It asks each connection before its use whether it lives: one
// that a restart ended is not met, however short the restart was.
func (c *Cluster) Connect(role string) *pgxpool.Pool {
	c.t.Helper()
	return connect(c.t, c.URL(role), func(config *pgxpool.Config) {
		config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return true }
	})
}

// Exec executes a statement in the database tenure as the role that may do everything.
func (c *Cluster) Exec(sql string) {
	c.t.Helper()
	require.NoError(c.t, c.c.Exec(context.Background(), pgcluster.Database, sql))
}

// Backup takes a base backup of the running cluster. It is not started yet.
func (c *Cluster) Backup() *Cluster {
	c.t.Helper()
	b, err := c.c.Backup(context.Background())
	require.NoError(c.t, err)
	return of(c.t, b)
}

// Copy copies the cluster's files while it rests. The copy is not started yet.
func (c *Cluster) Copy() *Cluster {
	c.t.Helper()
	b, err := c.c.Copy(context.Background())
	require.NoError(c.t, err)
	return of(c.t, b)
}

// Follow makes a backup a standby: of a primary, or of nobody, so that it stays where the backup ended.
func (c *Cluster) Follow(primary *Cluster) {
	c.t.Helper()
	var of *pgcluster.Cluster
	if primary != nil {
		of = primary.c
	}
	require.NoError(c.t, c.c.Follow(context.Background(), of))
}

// CaughtUp waits until a standby has replayed all that the primary wrote.
func (c *Cluster) CaughtUp(primary *Cluster) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	from, err := pgx.Connect(ctx, primary.c.URL(RoleSuper, "postgres"))
	require.NoError(c.t, err)
	defer from.Close(context.WithoutCancel(ctx))
	to, err := pgx.Connect(ctx, c.c.URL(RoleSuper, "postgres"))
	require.NoError(c.t, err)
	defer to.Close(context.WithoutCancel(ctx))
	var end string
	require.NoError(c.t, from.QueryRow(ctx, `SELECT pg_current_wal_lsn()::text`).Scan(&end))
	require.Eventually(c.t, func() bool {
		var there bool
		err := to.QueryRow(ctx, `SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn`, end).Scan(&there)
		return err == nil && there
	}, 30*time.Second, 20*time.Millisecond)
}

// Promote makes a standby a primary, on a new timeline.
func (c *Cluster) Promote() {
	c.t.Helper()
	require.NoError(c.t, c.c.Promote(context.Background()))
}

// SetPort makes the cluster listen elsewhere from its next start on.
func (c *Cluster) SetPort(port int) { c.c.SetPort(port) }

// copyName is the database that CopyDatabase makes.
const copyName = "tenure_copy"

// CopyDatabase copies the database tenure within its cluster, while nobody uses it.
func CopyDatabase(t testing.TB, c *Cluster) {
	t.Helper()
	for _, sql := range []string{
		`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'tenure'`,
		`CREATE DATABASE ` + copyName + ` TEMPLATE tenure OWNER ` + RolePlain,
	} {
		require.NoError(t, c.c.Exec(context.Background(), "postgres", sql))
	}
}

// CopyURL leads to the copy of the database.
func (c *Cluster) CopyURL(role string) string { return c.c.URL(role, copyName) }

// TakePlaceOf makes the cluster listen where another one did that rests now.
func (c *Cluster) TakePlaceOf(other *Cluster) {
	c.t.Helper()
	require.NoError(c.t, c.c.TakePlaceOf(context.Background(), other.c))
}
