package embedded_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore/embedded"
	"github.com/tenure-dev/tenure/eventstore/embedded/internal/enginetest"
)

func TestKilledPostgresComesBackUnderTheSameAddress(t *testing.T) {
	t.Parallel()
	server := start(t, embedded.Options{DataDir: dataDir(t), NoSync: true})
	address := server.ConnString()
	execute(t, address, "CREATE TABLE kept AS SELECT 'here' AS v")
	for round := 1; round <= 2; round++ {
		enginetest.KillPostgres(t, server.PID())
		require.Eventually(t, func() bool { return server.Restarts() == round }, 2*time.Minute, 10*time.Millisecond)
		require.Equal(t, address, server.ConnString())
		require.Equal(t, "here", query(t, address, "SELECT v FROM kept"))
	}
}

func TestKilledEngineLeavesAServerThatTheNextAdopts(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	engine := enginetest.Start(t, enginetest.Request{DataDir: dir})
	require.Empty(t, engine.Error)
	execute(t, engine.ConnString, "CREATE TABLE kept AS SELECT 'here' AS v")
	engine.Kill()

	server := start(t, embedded.Options{DataDir: dir, NoSync: true})
	require.True(t, server.Adopted())
	require.Equal(t, engine.PostgresID, server.PID())
	require.Equal(t, engine.ConnString, server.ConnString())
	require.Equal(t, "here", query(t, server.ConnString(), "SELECT v FROM kept"))

	enginetest.KillPostgres(t, server.PID())
	require.Eventually(t, func() bool { return server.Restarts() == 1 }, 2*time.Minute, 10*time.Millisecond, "an adopted server is supervised too")
	require.False(t, server.Adopted())
	require.Equal(t, "here", query(t, server.ConnString(), "SELECT v FROM kept"))
}

func TestAServerInRecoveryIsAwaitedAndAdopted(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	first := enginetest.Start(t, enginetest.Request{DataDir: dir})
	require.Empty(t, first.Error)
	first.Stop()
	// Archive recovery whose archive answers only when the gate is there: a recovery as long as the test wants.
	gate := filepath.Join(dir, "gate")
	signal := filepath.Join(dir, "postgres", "recovery.signal")
	require.NoError(t, os.WriteFile(signal, nil, 0o644))
	engine := enginetest.Begin(t, enginetest.Request{DataDir: dir, Settings: map[string]string{
		"restore_command": "until [ -e " + gate + " ]; do sleep 0.05; done; false",
	}})
	pidFile := filepath.Join(dir, "postgres", "postmaster.pid")
	require.Eventually(t, func() bool {
		text, _ := os.ReadFile(pidFile)
		return strings.Contains(string(text), "starting")
	}, 2*time.Minute, 5*time.Millisecond)
	engine.Kill()
	pid, err := strconv.Atoi(strings.SplitN(read(t, pidFile), "\n", 2)[0])
	require.NoError(t, err)

	// It says nothing but "recovering" for much longer than the time in which it may be silent.
	const silent = 5 * time.Second
	opened := time.AfterFunc(2*silent, func() { _ = os.WriteFile(gate, nil, 0o644) })
	defer opened.Stop()
	server := start(t, embedded.Options{DataDir: dir, StartTimeout: silent, NoSync: true})
	require.FileExists(t, gate, "it waited")
	require.True(t, server.Adopted())
	require.Equal(t, pid, server.PID())
	require.NotContains(t, read(t, dir, "postgres.log"), "the database system is starting up", "nobody knocked meanwhile")
}

func TestStalePidFilesWithARecycledPidAreCleared(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	engine := enginetest.Start(t, enginetest.Request{DataDir: dir})
	require.Empty(t, engine.Error)
	execute(t, engine.ConnString, "CREATE TABLE kept AS SELECT 'here' AS v")
	engine.Kill()
	enginetest.KillPostgres(t, engine.PostgresID)

	other := exec.Command("sleep", "600")
	// Even one that stands in the cluster's directory is no server.
	other.Dir = filepath.Join(dir, "postgres")
	require.NoError(t, other.Start())
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	recycle(t, filepath.Join(dir, "postgres", "postmaster.pid"), other.Process.Pid)
	recycle(t, filepath.Join(dir, "run", ".s.PGSQL.5432.lock"), other.Process.Pid)

	server := start(t, embedded.Options{DataDir: dir, NoSync: true})
	require.False(t, server.Adopted())
	require.Equal(t, "here", query(t, server.ConnString(), "SELECT v FROM kept"))
	require.False(t, enginetest.Gone(other.Process.Pid), "the pid's new owner is left alone")
}

func TestOrphanedBackendsAreGoneBeforeTheNextServerStarts(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	engine := enginetest.Start(t, enginetest.Request{DataDir: dir})
	require.Empty(t, engine.Error)
	conn := connect(t, engine.ConnString)
	var backend int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&backend))
	busy := make(chan error, 1)
	go func() {
		// It computes without ever looking whether its postmaster lives.
		_, err := conn.Exec(t.Context(), "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 1000000) b")
		busy <- err
	}()
	require.Eventually(t, func() bool {
		return query(t, engine.ConnString, fmt.Sprintf("SELECT state FROM pg_stat_activity WHERE pid = %d", backend)) == "active"
	}, 2*time.Minute, 10*time.Millisecond)
	engine.Kill()
	enginetest.KillPostgres(t, engine.PostgresID)
	require.False(t, enginetest.Gone(backend))

	server := start(t, embedded.Options{DataDir: dir, NoSync: true})
	require.True(t, enginetest.Gone(backend))
	require.Error(t, <-busy)
	require.Equal(t, "1", query(t, server.ConnString(), "SELECT '1'"))
}

func TestAServerWithoutItsPidFileIsReplaced(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	engine := enginetest.Start(t, enginetest.Request{DataDir: dir})
	require.Empty(t, engine.Error)
	engine.Kill()
	require.NoError(t, os.Remove(filepath.Join(dir, "postgres", "postmaster.pid")))

	server := start(t, embedded.Options{DataDir: dir, NoSync: true})
	require.True(t, enginetest.Gone(engine.PostgresID), "two servers on one directory would destroy it")
	require.False(t, server.Adopted())
}

func TestAServerWithoutItsSocketIsReplaced(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	engine := enginetest.Start(t, enginetest.Request{DataDir: dir})
	require.Empty(t, engine.Error)
	engine.Kill()
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "run")))

	server := start(t, embedded.Options{DataDir: dir, StartTimeout: 10 * time.Second, NoSync: true})
	require.True(t, enginetest.Gone(engine.PostgresID))
	require.Equal(t, "1", query(t, server.ConnString(), "SELECT '1'"))
}

func TestASocketOfSomebodyElseIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	first := enginetest.Start(t, enginetest.Request{DataDir: dir})
	require.Empty(t, first.Error)
	first.Stop()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "run"), 0o700))
	foreign, err := net.Listen("unix", filepath.Join(dir, "run", ".s.PGSQL.5432"))
	require.NoError(t, err)
	defer foreign.Close()

	server := start(t, embedded.Options{DataDir: dir, NoSync: true})
	require.Contains(t, server.ConnString(), "port=5433")
	require.Equal(t, filepath.Join(dir, "postgres"), query(t, server.ConnString(), "SHOW data_directory"))
}

func TestAForeignClustersServerIsNeverAdopted(t *testing.T) {
	t.Parallel()
	dir, foreignDir := dataDir(t), dataDir(t)
	ours := enginetest.Start(t, enginetest.Request{DataDir: dir})
	require.Empty(t, ours.Error)
	ours.Kill()
	enginetest.KillPostgres(t, ours.PostgresID)
	foreign := start(t, embedded.Options{DataDir: foreignDir, NoSync: true})
	// Our pid file names the foreign server's process and its address, as after a restored backup.
	text := read(t, foreignDir, "postgres", "postmaster.pid")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "postgres", "postmaster.pid"), []byte(text), 0o600))

	server := start(t, embedded.Options{DataDir: dir, NoSync: true})
	require.False(t, server.Adopted())
	require.NotEqual(t, foreign.PID(), server.PID())
	require.Equal(t, filepath.Join(dir, "postgres"), query(t, server.ConnString(), "SHOW data_directory"))
	require.Equal(t, filepath.Join(foreignDir, "postgres"), query(t, foreign.ConnString(), "SHOW data_directory"))
}

// recycle puts another process's pid into a lock file that a killed server left.
func recycle(t *testing.T, path string, pid int) {
	t.Helper()
	_, rest, ok := strings.Cut(read(t, path), "\n")
	require.True(t, ok)
	require.NoError(t, os.WriteFile(path, []byte(strconv.Itoa(pid)+"\n"+rest), 0o600))
}
