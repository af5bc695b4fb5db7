package execparent_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/execparent"
	"github.com/tenure-dev/tenure/drivers/internal/proc"
	"github.com/tenure-dev/tenure/drivers/journal"
)

// walls is a sandbox program without walls, which notes what it sees. plugins/bubblewrap has the real ones.
func walls(t *testing.T, script string) (sandbox *execparent.Sandbox, seen string) {
	t.Helper()
	seen = filepath.Join(t.TempDir(), "seen")
	script = `{ cat /proc/$$/environ; echo "$@"; } > ` + seen + `; ` + script
	return &execparent.Sandbox{Argv: []string{"/bin/sh", "-c", script, "walls"}}, seen
}

func run(t *testing.T, s execparent.Spec) (drivers.ExecResult, string) {
	t.Helper()
	p, err := execparent.Start(t.Context(), options(), s)
	require.NoError(t, err)
	result, err := p.Wait(t.Context())
	require.NoError(t, err)
	stdout, _ := driverstest.ReadOutput(t, s.JournalDir)
	return result, string(stdout)
}

func TestASandboxedCommandIsReportedAsAnyOther(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		script string
		want   drivers.ExecResult
	}{
		{`printf %s "$TOKEN"; cat; exit 139`, drivers.ExecResult{End: drivers.ExecExited, ExitCode: 139}},
		{`printf %s "$TOKEN"; cat; kill -SEGV $$`, drivers.ExecResult{End: drivers.ExecSignaled, Signal: "SIGSEGV"}},
	} {
		s := spec(filepath.Join(t.TempDir(), "exec"), "sh", "-c", row.script)
		s.Env, s.Stdin = append(s.Env, drivers.EnvVar{Name: "TOKEN", Value: "hunter2"}), []byte(" and in")
		var seen string
		s.Sandbox, seen = walls(t, `exec "$@"`)
		result, stdout := run(t, s)
		require.Equal(t, "hunter2 and in", stdout)
		require.Equal(t, drivers.OutputComplete, result.Output.State)
		result.Output = drivers.OutputSeal{}
		require.Equal(t, row.want, result)
		b, err := os.ReadFile(seen)
		require.NoError(t, err)
		require.NotEmpty(t, b)
		require.NotContains(t, string(b), "TOKEN")
		require.NotContains(t, string(b), "hunter2")
	}
}

func TestAProgramThatIsNotInTheSandboxIsNotTheSandboxsFault(t *testing.T) {
	t.Parallel()
	s := spec(filepath.Join(t.TempDir(), "exec"), "no-such-command")
	s.Sandbox, _ = walls(t, `exec "$@"`)
	result, _ := run(t, s)
	require.Equal(t, drivers.ExecExited, result.End)
	require.Equal(t, 127, result.ExitCode)

	for _, row := range []struct{ stage, cwd, script, says string }{
		{"cwd", "/no/such/directory", `exec "$@"`, "/no/such/directory"},
		{"sandbox", "/", `echo "no walls today" >&2; exit 127`, "no walls today"},
		{"sandbox", "/", `kill -KILL $$`, "without a word"},
	} {
		s := spec(filepath.Join(t.TempDir(), "exec"), "true")
		s.Cwd = row.cwd
		s.Sandbox, _ = walls(t, row.script)
		_, err := execparent.Start(t.Context(), options(), s)
		start, ok := errors.AsType[*drivers.StartError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, row.stage, start.Stage)
		require.ErrorContains(t, err, row.says)
		_, sealed, err := journal.ReadSeal(s.JournalDir)
		require.NoError(t, err)
		require.True(t, sealed, "nobody follows what never began")
	}
	s = spec(filepath.Join(t.TempDir(), "exec"), "true")
	s.Sandbox = &execparent.Sandbox{Argv: []string{"/no/such/bwrap"}}
	_, err := execparent.Start(t.Context(), options(), s)
	start, ok := errors.AsType[*drivers.StartError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "sandbox_missing", start.Code)
	require.NotEmpty(t, start.Remediation)
}

// A sandbox program that is killed while it sets up may leave a child without walls.
func TestWhatASandboxProgramLeavesOutsideIsEnded(t *testing.T) {
	t.Parallel()
	s := spec(filepath.Join(t.TempDir(), "exec"), "true")
	pidFile := filepath.Join(t.TempDir(), "pid")
	s.Sandbox, _ = walls(t, `setsid sh -c 'echo $$ > `+pidFile+`.new && mv `+pidFile+`.new `+pidFile+`; exec sleep 600' 3>&- 4>&- &
		until [ -e `+pidFile+` ]; do :; done; exec "$@"`)
	result, _ := run(t, s)
	require.Equal(t, drivers.ExecExited, result.End)
	require.Zero(t, result.Leftovers)
	b, err := os.ReadFile(pidFile)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	require.NoError(t, err)
	_, err = proc.Identity(pid)
	require.ErrorIs(t, err, fs.ErrNotExist)
}
