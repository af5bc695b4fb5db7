package apptest_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
)

// Case A37: what is in the server's environment reaches no command, no /proc that a command can read, no event, log,
// journal or answer.
func TestTheServersEnvironmentStaysWithTheServer(t *testing.T) {
	t.Parallel()
	const marker = "MARKER-4711-of-the-server"
	e := apptest.Start(t, apptest.WithEnv("AWS_SECRET_ACCESS_KEY="+marker, "SIGNING_KEY="+marker, "TENURE_OTHER="+marker))
	tenant := e.Tenant(wire.AddEnvironment{EnvVars: wire.PlainVars(map[string]string{"FROM_ENVIRONMENT": "1"})})
	lease := e.Acquire(tenant, wire.AcquireLease{Env: map[string]string{"FROM_LEASE": "2"}}).Lease
	_, out, errs := e.Run(lease.ID, wire.StartExec{
		Argv: []string{"sh", "-c", `env; cat /proc/self/environ; cat /proc/$PPID/environ; cat /proc/$PPID/cmdline
			for p in /proc/[0-9]*; do cat $p/environ $p/cmdline 2>/dev/null; done; true`},
		Env: map[string]string{"FROM_EXEC": "3"},
	})
	require.NotContains(t, string(out), marker)
	require.NotContains(t, string(errs), marker)
	for _, want := range []string{"FROM_ENVIRONMENT=1\n", "FROM_LEASE=2\n", "FROM_EXEC=3\n"} {
		require.Contains(t, string(out), want)
	}
	names := map[string]bool{}
	_, out, _ = e.Run(lease.ID, wire.StartExec{Argv: []string{"env", "-0"}})
	for kv := range strings.SplitSeq(string(out), "\x00") {
		name, _, _ := strings.Cut(kv, "=")
		names[name] = true
	}
	for _, foreign := range []string{"TENURE_ENVIRONMENT_FD", "PGHOST", "TENURE_OTHER", "SIGNING_KEY"} {
		require.False(t, names[foreign], foreign)
	}
	events, err := e.Client.Events(t.Context(), client.Page("", 1000))
	require.NoError(t, err)
	raw, err := json.Marshal(events)
	require.NoError(t, err)
	require.NotContains(t, string(raw), marker)
	require.NotContains(t, e.Log(), marker)
	environ, err := os.ReadFile(filepath.Join("/proc", itoa(e.PID()), "environ"))
	if err == nil {
		require.NotContains(t, string(environ), marker)
	}
	require.Equal(t, 0, e.Stop())
	requireNowhere(t, e.DataDir, marker)
}

// Values of variables and standard input are in no event and, once the command and the lease have ended, in no file of
// the database.
func TestValuesOfVariablesAreNotInTheLog(t *testing.T) {
	t.Parallel()
	const secret, input = "hunter2-of-the-exec", "hunter3-of-stdin"
	e := apptest.Start(t)
	tenant := e.Tenant(wire.AddEnvironment{})
	lease := e.Acquire(tenant, wire.AcquireLease{Env: map[string]string{"LEASE_TOKEN": secret}}).Lease
	x, out, _ := e.Run(lease.ID, wire.StartExec{
		Argv: []string{"sh", "-c", `test "$TOKEN" = "$LEASE_TOKEN" && wc -c`}, Env: map[string]string{"TOKEN": secret}, Stdin: input,
	})
	require.Equal(t, 0, *x.Result.ExitCode)
	require.Equal(t, itoa(len(input)), strings.TrimSpace(string(out)))
	events, err := e.Client.Events(t.Context(), client.Page("", 1000))
	require.NoError(t, err)
	raw, err := json.Marshal(events)
	require.NoError(t, err)
	require.Contains(t, string(raw), "LEASE_TOKEN")
	for _, value := range []string{secret, input} {
		require.NotContains(t, string(raw), value)
		require.NotContains(t, e.Log(), value)
	}
}

func requireNowhere(t *testing.T, dir, marker string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.Contains(content, []byte(marker)) {
			t.Errorf("%s holds the marker", path)
		}
		return nil
	}))
}
