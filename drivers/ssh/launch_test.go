package ssh

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/journal"
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

func TestHalfAScriptDoesNothing(t *testing.T) {
	t.Parallel()
	dir, marked := t.TempDir(), filepath.Join(t.TempDir(), "marker")
	require.NoError(t, os.WriteFile(marked, []byte(`{"fence":7}`+"\n"), 0o600))
	s := spec{
		req:    drivers.ExecRequest{Handle: drivers.Handle{Fence: 7}, Argv: []string{"touch", dir + "/one", dir + "/two"}, Cwd: dir},
		env:    []drivers.EnvVar{{Name: "PATH", Value: basePath}, {Name: "A", Value: "it's"}},
		marker: marked,
	}
	whole := s.shellScript()
	for _, shell := range []string{"dash", "bash"} {
		for cut := range 160 {
			cmd := exec.CommandContext(t.Context(), shell, "-c", `eval "$(cat)"`)
			cmd.Stdin = strings.NewReader(whole[:len(whole)-2-cut]) // less than the closing brace
			_ = cmd.Run()
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, left, whole[:len(whole)-2-cut])
		}
	}
	cmd := exec.CommandContext(t.Context(), "dash", "-c", `eval "$(cat)"`)
	cmd.Stdin = strings.NewReader(whole)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 2)
}

// FuzzWhatTheHostSays: a host may say anything, and the driver survives it.
func FuzzWhatTheHostSays(f *testing.F) {
	f.Add([]byte("\x00tenure-exec-1\x00S\x00\x00\x00\x0542\x007\x00b1\x00\x00\x00\x02hiE\x00\x00\x00\x0eexited\x000\x000\x000"), false)
	f.Add([]byte("noise\x00tenure-exec-1\x00F\x00\x00\x00\x07a\x00b\x00c"), false)
	f.Add([]byte("\x00tenure-exec-1\x00A\x00\x00\x00\x04\xff\xff\xff\xff1\xff\xff\xff\xff"), false)
	f.Add([]byte("\x00tenure-exec-1\x00S 42 7 boot\noutput"), true)
	f.Add([]byte("\x00tenure-exec-1\x00F runtime\truntime_gone\tgone\n"), true)
	f.Fuzz(func(t *testing.T, said []byte, raw bool) {
		w, err := journal.Create(filepath.Join(t.TempDir(), "j"), journal.Options{})
		require.NoError(t, err)
		p := &process{journal: w, first: make(chan error, 1), done: make(chan struct{}), credit: make(chan int, 1<<16), raw: raw}
		in, err := p.skipNoise(bytes.NewReader(said), io.Discard)
		if err != nil {
			return
		}
		if raw {
			head, err := bufio.NewReader(in).ReadString('\n')
			if err == nil {
				_, _ = p.readHead(head)
			}
			return
		}
		_, _ = p.read(in)
		_, err = io.ReadAll(in)
		require.NoError(t, err)
		_, err = w.Seal(drivers.OutputComplete)
		require.NoError(t, err)
	})
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

// What cleared its environment is not found without a parent; it must not keep the command from ending all the same.
func TestWhatHoldsTheOutputWithoutAParentIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	for name, hide := range map[string][]string{"with python3": {"perl"}, "with a shell alone": {"perl", "python3"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := acquireOn(t, s, nil, Options{hide: hide})
			done := r.Sh(`env -i setsid sleep 60 & echo begun; exit 3`)
			require.Equal(t, drivers.ExecExited, done.End)
			require.Equal(t, 3, done.ExitCode)
			require.Equal(t, drivers.OutputAbandoned, done.Output.State)
			require.Equal(t, "begun\n", string(done.Stdout))
			require.Less(t, done.Took, 50*time.Second)
		})
	}
}
