package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// Pooler is a PgBouncer before the tests' server, in transaction mode: each transaction may get another session.
type Pooler struct {
	base string
	dir  string
	user string
}

const poolerPort = 6432

// NewPooler starts PgBouncer; it ends after the test.
func NewPooler(t testing.TB) *Pooler {
	t.Helper()
	base, err := start()
	require.NoError(t, err, "start Postgres for tests")
	config, err := pgx.ParseConfig(base)
	require.NoError(t, err)
	p := &Pooler{base: base, dir: socketDir(t), user: config.User}
	// The pooler runs as another user under root, whom the server would not let in: the proxy goes in as us.
	upstream := socketDir(t)
	newProxy(t, base, upstream)
	require.NoError(t, os.Chmod(upstream, 0o755))                  //nolint:gosec // the pooler's user goes in
	require.NoError(t, os.Chmod(upstream+"/.s.PGSQL.5432", 0o777)) //nolint:gosec // for the time of a test
	p.write(t, "users", fmt.Sprintf("%q %q\n", p.user, config.Password))
	p.write(t, "pgbouncer.ini", fmt.Sprintf(`[databases]
* = host=%s port=5432
[pgbouncer]
listen_addr =
listen_port = %d
unix_socket_dir = %s
logfile = %s/log
auth_type = trust
auth_file = %s/users
pool_mode = transaction
default_pool_size = 4
max_client_conn = 500
`, upstream, poolerPort, p.dir, p.dir, p.dir))
	p.run(t)
	return p
}

func (p *Pooler) write(t testing.TB, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600))
}

func (p *Pooler) run(t testing.TB) {
	t.Helper()
	binary, err := exec.LookPath("pgbouncer")
	if err != nil {
		binary = "/usr/sbin/pgbouncer"
	}
	cmd := exec.CommandContext(context.Background(), binary, "-q", filepath.Join(p.dir, "pgbouncer.ini"))
	cmd.Stderr = os.Stderr
	if os.Geteuid() == 0 {
		p.giveAway(t, cmd)
	}
	require.NoError(t, cmd.Start(), "PgBouncer; make setup installs it")
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if log, err := os.ReadFile(filepath.Join(p.dir, "log")); err == nil && t.Failed() {
			t.Logf("PgBouncer's log:\n%s", log)
		}
	})
	require.Eventually(t, func() bool {
		conn, err := pgx.Connect(context.Background(), p.url("tenure"))
		if err != nil {
			return false
		}
		return conn.Close(context.Background()) == nil
	}, time.Minute, 20*time.Millisecond, "PgBouncer does not answer")
}

// giveAway makes the pooler run as somebody else, since it refuses to be root.
func (p *Pooler) giveAway(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	nobody, err := user.Lookup("nobody")
	require.NoError(t, err)
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	require.NoError(t, err)
	gid, err := strconv.ParseUint(nobody.Gid, 10, 32)
	require.NoError(t, err)
	for _, path := range []string{p.dir, p.dir + "/users", p.dir + "/pgbouncer.ini"} {
		require.NoError(t, os.Chown(path, int(uid), int(gid)))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

func (p *Pooler) url(db string) string {
	return fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=disable", p.dir, poolerPort, p.user, db)
}

var databases atomic.Int64

// Database makes an empty database, dropped after the test, and returns the connection strings that lead to it through the
// pooler and without it. A database rather than a schema, because a pooler takes no search_path.
func (p *Pooler) Database(t testing.TB) (pooled, direct string) {
	t.Helper()
	ctx := context.Background()
	name := fmt.Sprintf("d%d_%d", os.Getpid(), databases.Add(1))
	conn, err := pgx.Connect(ctx, p.base)
	require.NoError(t, err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, `CREATE DATABASE `+name)
	require.NoError(t, err)
	t.Cleanup(func() {
		conn, err := pgx.Connect(ctx, p.base)
		if err != nil {
			return
		}
		defer conn.Close(ctx)
		_, _ = conn.Exec(ctx, `DROP DATABASE `+name+` WITH (FORCE)`)
	})
	config, err := pgx.ParseConfig(p.base)
	require.NoError(t, err)
	return p.url(name), fmt.Sprintf("host=%s port=%d user=%s password='%s' dbname=%s", config.Host, config.Port, config.User, config.Password, name)
}

// ConnectPooled is Connect with statements as the engine sends them: without names, which a pooler would mix up.
func ConnectPooled(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	return connect(t, url, func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe })
}
