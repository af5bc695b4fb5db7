package ssh

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/ssh/sshtest"
)

func TestNoLoaderHasACharacterThatALoginShellUnderstands(t *testing.T) {
	t.Parallel()
	for _, loader := range []string{perlLoader, pythonLoader, shLoader} {
		require.NotContains(t, loader, "'")
		for _, r := range loader {
			require.NotContains(t, "\\!\n`", string(r), loader)
		}
	}
}

func TestCommandsRunWithoutPerl(t *testing.T) {
	t.Parallel()
	for name, hide := range map[string][]string{"with python3": {"perl"}, "with a shell alone": {"perl", "python3"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sshtest.Start(t, sshtest.Options{})
			f := featuresOn(t, s, filepath.Join(t.TempDir(), "w"), map[string]any{"workspaceMode": "per_lease"}, Options{hide: hide})
			r := driverstest.Acquire(t, f)
			done := r.Run(drivers.ExecRequest{
				Argv: []string{"sh", "-c", `printf '%s|%s|' "$A" "$1"; cat; echo err >&2; pwd; exit 7`, "x", "it's $HOME \xff \"x\" *\n"},
				Env:  []drivers.EnvVar{{Name: "A", Value: "\x80`id`$(id)\n'"}, {Name: "A", Value: "2'\n"}}, Stdin: []byte("in\x00put"),
			})
			require.Equal(t, drivers.ExecExited, done.End)
			require.Equal(t, 7, done.ExitCode)
			require.Equal(t, "2'\n|it's $HOME \xff \"x\" *\n|in\x00put"+r.Field("remoteCwd")+"\n", string(done.Stdout))
			require.Equal(t, "err\n", string(done.Stderr))
			require.Equal(t, 127, r.Run(drivers.ExecRequest{Argv: []string{"no-such-command"}}).ExitCode)
			done = r.Sh(`kill -SEGV $$`)
			require.Equal(t, drivers.ExecSignaled, done.End)
			require.Equal(t, "SIGSEGV", done.Signal)
		})
	}
}
