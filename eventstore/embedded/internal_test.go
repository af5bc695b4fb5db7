package embedded

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

func TestPIDFileIsReadAsFarAsItWasWritten(t *testing.T) {
	t.Parallel()
	const whole = "4711\n/d/postgres\n1700000000\n5432\n/d/run\n\n  1234  5\nready   \n"
	for _, row := range []struct {
		text string
		want pidFile
	}{
		{whole, pidFile{pid: 4711, at: address{dir: "/d/run", port: 5432}, status: "ready"}},
		{"4711\n/d/postgres\n1700000000\n5432\n", pidFile{pid: 4711}},
		{"4711", pidFile{pid: 4711}},
		{"", pidFile{}},
		{"-4711\n", pidFile{}},
		{"1\n", pidFile{}},
		{"not a pid\nx\ny\nz\nw\n", pidFile{}},
	} {
		got := parsePIDFile(bufio.NewScanner(strings.NewReader(row.text)))
		require.Empty(t, cmp.Diff(row.want, got, cmp.AllowUnexported(pidFile{}, address{})), row.text)
	}
}

// One that is there and does not say its version, as on a machine that has no time for it, is not said to be missing.
func TestABinaryThatDoesNotWorkIsNotSaidToBeMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"postgres", "initdb"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\nexit 3\n"), 0o700))
	}
	_, broken := inspectBinaries(t.Context(), dir)
	require.ErrorContains(t, broken, "exit status 3")
	err := notInstalled("", broken)
	require.ErrorContains(t, err, "no usable PostgreSQL is installed: ")
	require.ErrorContains(t, err, "exit status 3")
	require.ErrorContains(t, notInstalled("", nil), "no PostgreSQL is installed;")
}

func TestOnlyPlainNamesGoIntoAnIdentMap(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"root", "svc-tenure_1", "first.last"} {
		require.True(t, identSafe(name), name)
	}
	for _, name := range []string{"", "/.*", "+group", "@file", `quo"te`, "two words", "-x", "#x"} {
		require.False(t, identSafe(name), name)
	}
}

func TestAUidWithoutUsableNameIsAskedForAPassword(t *testing.T) {
	t.Parallel()
	hba, ident := authentication("")
	require.Equal(t, "local all tenure scram-sha-256\n", hba)
	require.Empty(t, ident)
	hba, ident = authentication("svc")
	require.Equal(t, "local all tenure peer map=engine\n", hba)
	require.Equal(t, "engine svc tenure\n", ident)
}

func TestBorrowedUidIsNeverRoots(t *testing.T) {
	t.Parallel()
	passwd := filepath.Join(t.TempDir(), "passwd")
	require.NoError(t, os.WriteFile(passwd, []byte("root:x:0:0::/:/bin/sh\nbroken\ntoor:x:0:0::/:/bin/sh\n"), 0o600))
	_, ok := anyNamedUID(passwd)
	require.False(t, ok)
	require.NoError(t, os.WriteFile(passwd, []byte("root:x:0:0::/:/bin/sh\ndaemon:x:7:7::/:/bin/sh\n"), 0o600))
	uid, ok := anyNamedUID(passwd)
	require.True(t, ok)
	require.Equal(t, 7, uid)
}

func TestLogOfARunningServerIsCut(t *testing.T) {
	t.Parallel()
	log := newServerLog(t.TempDir(), 10)
	out, err := log.open()
	require.NoError(t, err)
	defer out.Close() //nolint:errcheck // read back below
	_, err = out.WriteString("short\n")
	require.NoError(t, err)
	require.NoError(t, log.trim())
	_, err = out.WriteString("and now too long\n")
	require.NoError(t, err)
	require.NoError(t, log.trim())
	_, err = out.WriteString("FATAL:  new\n")
	require.NoError(t, err)
	text, err := os.ReadFile(log.path)
	require.NoError(t, err)
	require.Equal(t, "FATAL:  new\n", string(text), "the server goes on at the beginning, without a hole")
	require.Equal(t, "FATAL:  new", log.since(0))
}

func TestAServerThatCannotComeBackIsGivenUp(t *testing.T) {
	t.Parallel()
	base, err := os.MkdirTemp("/tmp", "tenure-embedded-") //nolint:usetesting // t.TempDir is closed to the server's user
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(base)) })
	require.NoError(t, os.Chmod(base, 0o755))
	server, err := Start(t.Context(), Options{
		DataDir: filepath.Join(base, "data"), NoSync: true, backoff: backoff{first: time.Millisecond, longest: time.Millisecond, failures: 2},
	})
	require.NoError(t, err)
	control := filepath.Join(server.cluster.dir, "global", "pg_control")
	require.NoError(t, os.Rename(control, control+".away"))
	require.NoError(t, syscall.Kill(server.PID(), syscall.SIGKILL))
	<-server.Exited()
	require.Error(t, server.Err())
	require.ErrorContains(t, server.Err(), "pg_control")
	require.NoError(t, server.Stop(t.Context()))
	left, err := server.cluster.processes()
	require.NoError(t, err)
	require.Empty(t, left)
}
