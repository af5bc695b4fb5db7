package embedded_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/eventstore/embedded"
	"github.com/tenure-dev/tenure/eventstore/embedded/internal/enginetest"
)

func TestStartServesOnlyOverAPrivateSocket(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	server := start(t, embedded.Options{DataDir: dir})

	require.Empty(t, query(t, server.ConnString(), "SHOW listen_addresses"))
	require.Equal(t, "on,on,on", query(t, server.ConnString(),
		"SELECT current_setting('fsync')||','||current_setting('synchronous_commit')||','||current_setting('full_page_writes')"))
	require.Equal(t, "tenure C UTF8", query(t, server.ConnString(),
		"SELECT datname||' '||datcollate||' '||pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()"))
	info, err := os.Stat(filepath.Join(dir, "run"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	info, err = os.Stat(filepath.Join(dir, "postgres.password"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NotContains(t, read(t, dir, "postgres", "pg_hba.conf"), "trust")
	require.NotContains(t, read(t, dir, "postgres", "pg_hba.conf"), "host")
	require.NotContains(t, server.ConnString(), strings.Split(strings.TrimSpace(read(t, dir, "postgres.password")), ":")[4])
}

func TestStartGivesTheServerNothingOfTheEngine(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	engine := enginetest.Start(t, enginetest.Request{DataDir: dir, Env: []string{"MARKER=secret", "LANG=xx_XX.nonsense", "LC_ALL=zz"}})
	require.Empty(t, engine.Error)

	proc := fmt.Sprintf("/proc/%d", engine.PostgresID)
	environ := read(t, proc, "environ")
	for _, entry := range strings.Split(strings.Trim(environ, "\x00"), "\x00") {
		name, _, _ := strings.Cut(entry, "=")
		// Postgres adds PGDATA and what makes its locale its own.
		require.Contains(t, []string{"PATH", "LANG", "LC_ALL", "TZ", "PGDATA", "PG_GRANDPARENT_PID"}, name)
	}
	session, err := unix.Getsid(engine.PostgresID)
	require.NoError(t, err)
	require.Equal(t, engine.PostgresID, session, "a session of its own")
	for _, fd := range []string{"0", "1", "2"} {
		target, err := os.Readlink(proc + "/fd/" + fd)
		require.NoError(t, err)
		require.Contains(t, []string{"/dev/null", filepath.Join(dir, "postgres.log")}, target)
	}
	engine.Stop()
	require.Empty(t, enginetest.Processes(dir))
}

func TestStartIsNotMisledByTheEnvironmentOfPsql(t *testing.T) {
	t.Parallel()
	engine := enginetest.Start(t, enginetest.Request{DataDir: dataDir(t), Env: []string{
		"PGHOST=elsewhere", "PGPORT=1", "PGUSER=x", "PGPASSWORD=y", "PGDATABASE=z", "PGOPTIONS=-c nonsense=1", "PGSSLMODE=verify-full",
		"PGTARGETSESSIONATTRS=standby", "PGDATA=/nowhere",
	}})
	require.Empty(t, engine.Error)
	engine.Stop()
}

func TestStartFindsItsDataAgain(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	first, err := embedded.Start(t.Context(), embedded.Options{DataDir: dir, StartTimeout: 5 * time.Minute})
	require.NoError(t, err)
	execute(t, first.ConnString(), "CREATE TABLE kept AS SELECT 'here' AS v")
	require.NoError(t, first.Stop(t.Context()))
	require.Empty(t, enginetest.Processes(dir))
	require.NoDirExists(t, filepath.Join(dir, "run"))

	second := start(t, embedded.Options{DataDir: dir})
	require.Equal(t, "here", query(t, second.ConnString(), "SELECT v FROM kept"))
	require.Equal(t, first.ConnString(), second.ConnString())
	require.False(t, second.Adopted())
}

func TestStartServesADirectoryWithAnyName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"two words", "a,b", `quote'"back\slash`, strings.Repeat("long", 40), "*[x]?"} {
		t.Run(name[:3], func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(enginetest.Dir(t), name)
			server := start(t, embedded.Options{DataDir: dir, NoSync: true})
			require.Equal(t, filepath.Join(dir, "postgres"), query(t, server.ConnString(), "SHOW data_directory"))
			socketDir := strings.Trim(query(t, server.ConnString(), "SHOW unix_socket_directories"), `"`)
			info, err := os.Stat(socketDir)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
			require.Less(t, len(socketDir), 90)
		})
	}
}

func TestStartRemovesWhatAKilledInitdbLeft(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	half := filepath.Join(dir, "postgres.init-123", "cluster")
	require.NoError(t, os.MkdirAll(half, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(half, "PG_VERSION"), []byte("15"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "postgres"), 0o700), "an empty directory is no cluster")

	start(t, embedded.Options{DataDir: dir, NoSync: true})
	left, err := filepath.Glob(filepath.Join(dir, "postgres.init-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestStartKilledInInitdbLeavesADirectoryThatStarts(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	engine := enginetest.Begin(t, enginetest.Request{DataDir: dir})
	require.Eventually(t, func() bool {
		made, _ := filepath.Glob(filepath.Join(dir, "postgres.init-*", "cluster", "base"))
		return len(made) > 0
	}, 2*time.Minute, time.Millisecond)
	engine.Kill()
	require.NoDirExists(t, filepath.Join(dir, "postgres"))

	start(t, embedded.Options{DataDir: dir, NoSync: true})
}

func TestStartCutsTheLog(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "postgres.log"), make([]byte, 2000), 0o600))
	start(t, embedded.Options{DataDir: dir, LogLimit: 1000, NoSync: true})
	require.FileExists(t, filepath.Join(dir, "postgres.log.1"))
	require.Contains(t, read(t, dir, "postgres.log"), "ready to accept connections")
}

func TestStartTakesSettings(t *testing.T) {
	t.Parallel()
	server := start(t, embedded.Options{DataDir: dataDir(t), NoSync: true, Settings: map[string]string{
		"max_connections": "17", "app.note": `it's a \ "note"`,
	}})
	require.Equal(t, "17", query(t, server.ConnString(), "SHOW max_connections"))
	require.Equal(t, `it's a \ "note"`, query(t, server.ConnString(), "SHOW app.note"))
	require.Equal(t, "off", query(t, server.ConnString(), "SHOW fsync"))
}

func TestStopEndsOpenSessions(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	server, err := embedded.Start(t.Context(), embedded.Options{DataDir: dir, NoSync: true, StartTimeout: 5 * time.Minute})
	require.NoError(t, err)
	conn := connect(t, server.ConnString())
	_, err = conn.Exec(t.Context(), "BEGIN; CREATE TABLE t (i int)")
	require.NoError(t, err)
	require.NoError(t, server.Stop(t.Context()))
	require.NoError(t, server.Stop(t.Context()), "a second time")
	require.Empty(t, enginetest.Processes(dir))
	<-server.Exited()
	require.NoError(t, server.Err())
	require.Error(t, conn.Ping(t.Context()))
}

func TestStopByForceWhenTheTimeIsUp(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	server, err := embedded.Start(t.Context(), embedded.Options{DataDir: dir, NoSync: true, StartTimeout: 5 * time.Minute})
	require.NoError(t, err)
	expired, cancel := context.WithCancel(t.Context())
	cancel()
	requireCode(t, server.Stop(expired), embedded.CodeStopIncomplete)
	// A process that is exiting keeps its working directory a moment longer than its program.
	require.Eventually(t, func() bool { return len(enginetest.Processes(dir)) == 0 }, 2*time.Minute, time.Millisecond)
	start(t, embedded.Options{DataDir: dir, NoSync: true})
}

func TestStartThatIsCanceledLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := embedded.Start(ctx, embedded.Options{DataDir: dir})
	require.Error(t, err)
	require.Empty(t, enginetest.Processes(dir))
	start(t, embedded.Options{DataDir: dir, NoSync: true})
}
