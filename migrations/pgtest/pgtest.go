// Package pgtest gives tests a real Postgres: one server for a test program, a migrated schema of its own for each test.
//
// A package that uses it has
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
// which starts the server when the first test asks for it and stops it after the last one. TENURE_TEST_DATABASE_URL names
// another server to use instead.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore/embedded"
	"github.com/tenure-dev/tenure/migrations"
)

var server struct {
	sync.Mutex
	inMain bool
	url    string
	dir    string
	srv    *embedded.Server
	err    error
}

var schemas atomic.Int64

// Main runs the tests, stops the server that they started, and exits.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main for a TestMain that has more to do: it returns the exit code.
func Run(m *testing.M) int {
	sweep()
	server.inMain = true
	code := m.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = 1
	}
	return code
}

// URL is the connection string of a fresh, empty schema, dropped after the test.
func URL(t testing.TB) string {
	t.Helper()
	base, err := start()
	require.NoError(t, err, "start Postgres for tests")
	schema := fmt.Sprintf("t%d_%d_%d", os.Getpid(), time.Now().UnixNano(), schemas.Add(1))
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, base)
	require.NoError(t, err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, `CREATE SCHEMA `+schema)
	require.NoError(t, err)
	t.Cleanup(func() {
		conn, err := pgx.Connect(ctx, base)
		if err != nil {
			return // the test took the server down
		}
		defer conn.Close(ctx)
		_, _ = conn.Exec(ctx, `DROP SCHEMA `+schema+` CASCADE`)
	})
	return withSearchPath(base, schema)
}

// Pool is a pool on a migrated schema of its own, closed after the test.
func Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool := Connect(t, URL(t))
	require.NoError(t, migrations.Up(context.Background(), pool))
	return pool
}

// Connect is a pool on a connection string, closed after the test.
func Connect(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	return connect(t, url, func(*pgxpool.Config) {})
}

func connect(t testing.TB, url string, configure func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	config.MaxConns = 10
	configure(config)
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func withSearchPath(url, schema string) string {
	if strings.Contains(url, "://") {
		sep := "?"
		if strings.Contains(url, "?") {
			sep = "&"
		}
		return url + sep + "search_path=" + schema
	}
	return url + " search_path=" + schema
}

func start() (string, error) {
	server.Lock()
	defer server.Unlock()
	if server.url != "" || server.err != nil {
		return server.url, server.err
	}
	if url := os.Getenv("TENURE_TEST_DATABASE_URL"); url != "" {
		server.url = url
		return url, nil
	}
	if !server.inMain {
		return "", fmt.Errorf("the package has no TestMain that calls pgtest.Main")
	}
	server.dir, server.srv, server.err = launch()
	if server.err == nil {
		server.url = server.srv.ConnString()
	}
	return server.url, server.err
}

const prefix = "tenure-pgtest-"

func launch() (string, *embedded.Server, error) {
	dir := filepath.Join(os.TempDir(), prefix+strconv.Itoa(os.Getpid()))
	// Under root the server runs as another user, who must be able to enter.
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	srv, err := embedded.Start(ctx, embedded.Options{DataDir: dir, NoSync: true, StartTimeout: 4 * time.Minute, Settings: map[string]string{"max_connections": "300"}})
	return dir, srv, err
}

func stop() error {
	server.Lock()
	defer server.Unlock()
	if server.srv == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	err := server.srv.Stop(ctx)
	return errors.Join(err, os.RemoveAll(server.dir))
}

// sweep ends servers of test programs that were killed before they could do it.
func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	for _, dir := range dirs {
		owner, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), prefix))
		if err != nil || syscall.Kill(owner, 0) == nil {
			continue
		}
		lock, err := embedded.Lock(dir)
		if err != nil {
			continue
		}
		killPostmaster(dir)
		_ = lock.Unlock()
		_ = os.RemoveAll(dir)
	}
}

func killPostmaster(dir string) {
	data := filepath.Join(dir, "postgres")
	raw, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return
	}
	first, _, _ := strings.Cut(string(raw), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil && cwd == data {
		_ = syscall.Kill(pid, syscall.SIGQUIT)
	}
}
