package apptest_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// password stands in every connection string of these tests and must not come out again.
const password = "s3cr3t-p4ss"

// otherPort is one where somebody takes every connection and says this and goes; without a word he stays.
func otherPort(t *testing.T, greeting string) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var group sync.WaitGroup
	group.Go(func() {
		var conns []net.Conn
		for {
			conn, err := l.Accept()
			if err != nil {
				break
			}
			conns = append(conns, conn)
			if greeting != "" {
				_, _ = conn.Write([]byte(greeting))
				conn.Close()
			}
		}
		for _, conn := range conns {
			conn.Close()
		}
	})
	t.Cleanup(func() {
		l.Close()
		group.Wait()
	})
	return l.Addr().(*net.TCPAddr).Port
}

// A wrong --database-url is told apart by what is wrong with it; the password in it is not told at all.
func TestAWrongDatabaseURLIsSaidWithWhatToDo(t *testing.T) {
	t.Parallel()
	tcp := func(port int) string {
		return fmt.Sprintf("postgres://tenure:%s@127.0.0.1:%d/tenure?connect_timeout=2", password, port)
	}
	real := pgtest.URL(t)
	old := newOldPostgres(t, false)
	for name, c := range map[string]struct{ url, code, cause string }{
		"no URL":              {"postgres://tenure:" + password + "#x@host:port/tenure", "database_url_invalid", "not a valid URL"},
		"another scheme":      {"mysql://tenure:" + password + "@host/tenure", "database_url_invalid", "postgres://"},
		"a bad setting":       {"host=h sslmode=perhaps password=" + password, "database_url_invalid", "setting"},
		"unknown host":        {"postgres://tenure:" + password + "@no-such-host.invalid/tenure?connect_timeout=5", "database_unreachable", "no-such-host.invalid"},
		"refused":             {tcp(driverstest.ClosedPort(t)), "database_unreachable", "connection refused"},
		"no socket":           {"host=/nonexistent user=tenure password=" + password, "database_unreachable", "no such file"},
		"silence":             {tcp(otherPort(t, "")), "database_unreachable", "does not answer in time"},
		"another server":      {tcp(otherPort(t, "220 mail ESMTP, and goodbye\r\n")), "database_not_postgres", "does not answer as Postgres"},
		"wrong password":      {tcp(newOldPostgres(t, true).port), "database_login_refused", "password authentication failed"},
		"wrong user":          {real + " user=nobody-here password=" + password, "database_login_refused", "nobody-here"},
		"wrong database":      {real + " dbname=nothing-here", "database_missing", "nothing-here"},
		"no such schema":      {real + " search_path=nothing_here", "database_schema_missing", "search_path"},
		"read only":           {real + " options='-c default_transaction_read_only=on'", "database_read_only", "read-only"},
		"too old":             {tcp(old.port), "database_version_unsupported", "PostgreSQL 13"},
		"too few connections": {real + " pool_max_conns=1", "database_pool_too_small", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := apptest.New(t, apptest.WithEnv("TENURE_DATABASE_URL="+c.url))
			got := e.Refused(0)
			got.Check(t, c.code)
			require.Contains(t, got.Cause, c.cause, got.Said)
			require.NotContains(t, got.Said, password)
			require.NoFileExists(t, filepath.Join(e.DataDir, "admin.key"))
		})
	}
	t.Cleanup(func() {
		require.NotEmpty(t, old.statements())
		for _, s := range old.statements() {
			require.Regexp(t, "server_version_num|pg_backend_pid", s, "nothing else is asked of a server that is too old")
		}
	})
}

// --database-direct-url is looked at before anything depends on it.
func TestAWrongDirectURLIsSaidWithWhatToDo(t *testing.T) {
	t.Parallel()
	pooled, direct := pgtest.NewPooler(t).Database(t)
	for name, c := range map[string]struct{ url, code string }{
		"no URL":           {"postgres://tenure:" + password + "#x@host:port/tenure", "database_url_invalid"},
		"refused":          {fmt.Sprintf("postgres://tenure:%s@127.0.0.1:%d/tenure", password, driverstest.ClosedPort(t)), "database_unreachable"},
		"pooled too":       {pooled, "database_direct_url_pooled"},
		"another database": {pgtest.URL(t), "database_direct_url_elsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := apptest.New(t, apptest.WithEnv("TENURE_DATABASE_URL="+pooled, "TENURE_DATABASE_DIRECT_URL="+c.url)).Refused(0)
			got.Check(t, c.code)
			require.NotContains(t, got.Said, password)
			require.Contains(t, got.Said, "--database-direct-url")
		})
	}
	apptest.Start(t, apptest.WithEnv("TENURE_DATABASE_URL="+pooled, "TENURE_DATABASE_DIRECT_URL="+direct))
}

// A database that somebody else uses is left exactly as it is, whatever of the names of ours stands in it; the same data
// directory then starts on a database of its own.
func TestADatabaseWithSomebodyElsesTablesIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, theirs := range map[string]string{
		"a table of our name": `CREATE TABLE events (id int PRIMARY KEY, note text); INSERT INTO events VALUES (1, 'mine')`,
		"a function":          `CREATE FUNCTION append_batch() RETURNS int LANGUAGE sql AS 'SELECT 1'`,
		"a sequence":          `CREATE SEQUENCE log`,
		"a type":              `CREATE TYPE inputs AS (a int)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.URL(t)
			conn, err := pgx.Connect(t.Context(), url)
			require.NoError(t, err)
			defer conn.Close(context.Background())
			_, err = conn.Exec(t.Context(), theirs)
			require.NoError(t, err)
			before := contents(t, conn)
			e := apptest.New(t, apptest.WithEnv("TENURE_DATABASE_URL="+url))
			got := e.Refused(0)
			got.Check(t, "database_in_other_use")
			require.Equal(t, before, contents(t, conn))
			if strings.Contains(theirs, "INSERT") {
				var note string
				require.NoError(t, conn.QueryRow(t.Context(), `SELECT note FROM events WHERE id = 1`).Scan(&note))
				require.Equal(t, "mine", note)
				e.Env = []string{"TENURE_DATABASE_URL=" + pgtest.URL(t)}
				e.Start()
			}
		})
	}
}

// A user who may look and not create is told so, and leaves nothing.
func TestADatabaseWhereNothingMayBeMadeIsSaidWithWhatToDo(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	role := fmt.Sprintf("looker_%d", os.Getpid())
	_, err = conn.Exec(t.Context(), `CREATE ROLE `+role+`; DO $$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO `+role+`', current_schema()); END $$`)
	require.NoError(t, err)
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), url)
		require.NoError(t, err)
		defer conn.Close(context.Background())
		_, err = conn.Exec(context.Background(), `DROP OWNED BY `+role+`; DROP ROLE `+role)
		require.NoError(t, err)
	})
	got := apptest.New(t, apptest.WithEnv("TENURE_DATABASE_URL="+url+" options='-c role="+role+"'")).Refused(0)
	got.Check(t, "database_permission_denied")
	require.Contains(t, got.Remediation, "GRANT")
	require.Empty(t, contents(t, conn))
}

// contents names everything in the schema.
func contents(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `
		SELECT 'relation ' || relname || ' ' || relkind::text || ' ' || oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace
		 UNION ALL
		SELECT 'function ' || proname || ' ' || oid FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
		 ORDER BY 1`)
	require.NoError(t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return names
}

// A data directory that cannot be written to is refused before anything is made, with and without a database of its own.
func TestAReadOnlyDataDirectoryIsSaidWithWhatToDo(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	for name, env := range map[string][]string{"embedded": nil, "database of somebody": {"TENURE_DATABASE_URL=" + url}} {
		for where, missing := range map[string]bool{"the directory": false, "the one above": true} {
			t.Run(name+", "+where, func(t *testing.T) {
				t.Parallel()
				// Nothing is read-only for root, who goes as somebody else.
				uid := uint32(0)
				e := apptest.New(t, apptest.WithEnv(env...))
				closed := filepath.Join(apptest.Dir(t), "closed")
				require.NoError(t, os.Mkdir(closed, 0o700))
				if os.Geteuid() == 0 {
					uid = 12345
					require.NoError(t, os.Chown(closed, int(uid), int(uid)))
				}
				require.NoError(t, os.Chmod(closed, 0o500))
				t.Cleanup(func() { _ = os.Chmod(closed, 0o700) })
				e.DataDir = closed
				if missing {
					e.DataDir = filepath.Join(closed, "data")
				}
				got := e.Refused(uid)
				got.Check(t, "data_dir_not_accessible")
				require.Contains(t, got.Cause, "permission denied")
				require.Contains(t, got.Message, e.DataDir)
				entries, err := os.ReadDir(closed)
				require.NoError(t, err)
				require.Empty(t, entries)
			})
		}
	}
}
