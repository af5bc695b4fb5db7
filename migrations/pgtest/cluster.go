package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// Cluster is a Postgres of a test's own, which can be backed up, copied, followed and promoted. It listens on a socket alone.
// Its database tenure belongs to the role plain, an ordinary one; the role super may do everything.
type Cluster struct {
	t   testing.TB
	dir string
	// sock and port are where it listens: a cluster that takes another one's place has that one's.
	sock    string
	port    int
	running bool
}

// The roles of a cluster.
const (
	// RolePlain may do what a role may that owns its database and nothing else.
	RolePlain = "plain"
	RoleSuper = "super"
)

// NewCluster makes a cluster and starts it; it ends after the test.
func NewCluster(t testing.TB) *Cluster {
	t.Helper()
	c := newCluster(t)
	c.run("initdb", "-D", c.dir, "-U", RoleSuper, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	c.Start()
	c.exec("postgres", `CREATE ROLE `+RolePlain+` LOGIN`)
	c.exec("postgres", `CREATE DATABASE tenure OWNER `+RolePlain)
	return c
}

func newCluster(t testing.TB) *Cluster {
	t.Helper()
	// Short, as a socket needs, and open to the user that the server runs as under root.
	base, err := os.MkdirTemp("", "tenure-cluster-") //nolint:usetesting // see above
	require.NoError(t, err)
	uid, gid := serverUser(t)
	require.NoError(t, os.Chown(base, uid, gid))
	c := &Cluster{t: t, dir: filepath.Join(base, "data"), sock: base, port: 5432}
	t.Cleanup(func() {
		if c.running {
			c.Stop()
		}
		if log, err := os.ReadFile(filepath.Join(base, "log")); err == nil && t.Failed() {
			t.Logf("the log of the cluster in %s:\n%s", base, log)
		}
		_ = os.RemoveAll(base)
	})
	return c
}

// serverUser is whom a server runs as: this user, or postgres under root, whom Postgres refuses.
func serverUser(t testing.TB) (uid, gid int) {
	t.Helper()
	if os.Geteuid() != 0 {
		return os.Geteuid(), os.Getegid()
	}
	u, err := user.Lookup("postgres")
	require.NoError(t, err)
	uid, err = strconv.Atoi(u.Uid)
	require.NoError(t, err)
	gid, err = strconv.Atoi(u.Gid)
	require.NoError(t, err)
	return uid, gid
}

// run runs a program of Postgres.
func (c *Cluster) run(program string, args ...string) {
	c.t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
	require.NoError(c.t, err)
	if len(found) > 0 {
		program = found[len(found)-1]
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = filepath.Dir(c.dir)
	if os.Geteuid() == 0 {
		uid, gid := serverUser(c.t)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	out, err := cmd.CombinedOutput()
	require.NoError(c.t, err, "%s %v:\n%s", program, args, out)
}

// Start starts the server where it listens.
func (c *Cluster) Start() {
	c.t.Helper()
	options := fmt.Sprintf("-c listen_addresses='' -c unix_socket_directories='%s' -c port=%d -c fsync=off -c max_connections=60 "+
		"-c wal_keep_size=64MB -c shared_buffers=16MB", c.sock, c.port)
	c.run("pg_ctl", "-D", c.dir, "-l", filepath.Join(filepath.Dir(c.dir), "log"), "-o", options, "-w", "-t", "50", "start")
	c.running = true
}

// Stop ends it, and every connection to it, in order.
func (c *Cluster) Stop() {
	c.t.Helper()
	c.run("pg_ctl", "-D", c.dir, "-m", "fast", "-w", "-t", "50", "stop")
	c.running = false
}

// URL is a connection string for a role.
func (c *Cluster) URL(role string) string { return c.url(role, "tenure") }

func (c *Cluster) url(role, database string) string {
	return fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=disable", c.sock, c.port, role, database)
}

func (c *Cluster) exec(database, sql string) {
	c.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, c.url(RoleSuper, database))
	require.NoError(c.t, err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	require.NoError(c.t, err)
}

// Exec executes a statement in the database tenure as the role that may do everything.
func (c *Cluster) Exec(sql string) {
	c.t.Helper()
	c.exec("tenure", sql)
}

// Backup takes a base backup of the running cluster. It is not started yet.
func (c *Cluster) Backup() *Cluster {
	c.t.Helper()
	b := newCluster(c.t)
	b.run("pg_basebackup", "-D", b.dir, "-d", c.url(RoleSuper, "postgres"), "-X", "stream", "-c", "fast", "--no-sync")
	return b
}

// Copy copies the cluster's files while it rests. The copy is not started yet.
func (c *Cluster) Copy() *Cluster {
	c.t.Helper()
	c.Stop()
	b := newCluster(c.t)
	b.run("cp", "-a", c.dir, b.dir)
	c.Start()
	return b
}

// Follow makes a backup a standby: of a primary, or of nobody, so that it stays where the backup ended.
func (c *Cluster) Follow(primary *Cluster) {
	c.t.Helper()
	require.NoError(c.t, os.WriteFile(filepath.Join(c.dir, "standby.signal"), nil, 0o600))
	uid, gid := serverUser(c.t)
	require.NoError(c.t, os.Chown(filepath.Join(c.dir, "standby.signal"), uid, gid))
	if primary != nil {
		f, err := os.OpenFile(filepath.Join(c.dir, "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0o600)
		require.NoError(c.t, err)
		_, err = fmt.Fprintf(f, "primary_conninfo = 'host=%s port=%d user=%s application_name=standby'\n", primary.sock, primary.port, RoleSuper)
		require.NoError(c.t, err)
		require.NoError(c.t, f.Close())
	}
	c.Start()
}

// CaughtUp waits until a standby has replayed all that the primary wrote.
func (c *Cluster) CaughtUp(primary *Cluster) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	from, err := pgx.Connect(ctx, primary.url(RoleSuper, "postgres"))
	require.NoError(c.t, err)
	defer from.Close(context.WithoutCancel(ctx))
	to, err := pgx.Connect(ctx, c.url(RoleSuper, "postgres"))
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
	c.run("pg_ctl", "-D", c.dir, "-w", "-t", "50", "promote")
}

// SetPort makes the cluster listen elsewhere from its next start on.
func (c *Cluster) SetPort(port int) { c.port = port }

// copyName is the database that CopyDatabase makes.
const copyName = "tenure_copy"

// CopyDatabase copies the database tenure within its cluster, while nobody uses it.
func CopyDatabase(t testing.TB, c *Cluster) {
	t.Helper()
	c.exec("postgres", `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'tenure'`)
	c.exec("postgres", `CREATE DATABASE `+copyName+` TEMPLATE tenure OWNER `+RolePlain)
}

// CopyURL leads to the copy of the database.
func (c *Cluster) CopyURL(role string) string { return c.url(role, copyName) }

// TakePlaceOf makes the cluster listen where another one did that rests now.
func (c *Cluster) TakePlaceOf(other *Cluster) {
	c.t.Helper()
	if c.running {
		c.Stop()
	}
	c.sock, c.port = other.sock, other.port
	c.Start()
}
