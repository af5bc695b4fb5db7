package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// program writes a shell script that stands for tenure.
func program(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tenure")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700))
	return path
}

// Not parallel, and neither is the next: the demo reaps every child of its process.
func TestAServerThatDoesNotStartIsToldAndNothingStays(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer

	code := demo(program(t, `echo "no space left" >&2; exit 3`), &out)

	require.Equal(t, 1, code)
	require.Contains(t, out.String(), "the server ended: exit status 3")
	require.Contains(t, out.String(), "  no space left")
	require.NotContains(t, out.String(), "demo ok")
	require.NoDirExists(t, directoryIn(t, out.String()))
}

func TestAProcessThatTheServerLeavesBehindIsFoundAndEnded(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	s, err := newStage(program(t, `sleep 600 >/dev/null 2>&1 & exit 0`), &out)
	require.NoError(t, err)
	require.NoError(t, s.command(t.Context(), "serve").Run())

	err = s.clear()

	require.ErrorContains(t, err, "was left behind: sleep 600")
	require.NoDirExists(t, s.dir)
	require.Empty(t, s.processes())
}

func TestAProcessThatWorksInTheDirectoryIsFound(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s, err := newStage(program(t, ""), &bytes.Buffer{})
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "sleep", "600")
	cmd.Dir = s.dir
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Wait() })

	require.Len(t, s.processes(), 1)

	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.NoError(t, s.clear())
}

func TestOnlyWhatEveryUserMayGoThroughIsPassable(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "closed"), 0o700))
	require.False(t, passable(filepath.Join(dir, "closed")))
	require.False(t, passable(filepath.Join(dir, "nowhere")))
	require.True(t, passable("/"))
}

// directoryIn finds the demo's directory in what it says.
func directoryIn(t *testing.T, out string) string {
	t.Helper()
	_, rest, found := strings.Cut(out, "--data-dir ")
	require.True(t, found)
	dir, _, _ := strings.Cut(rest, "/data ")
	return dir
}

func TestWhatTheDemoStartsForItsEnvironmentsIsEnded(t *testing.T) {
	// Not t.TempDir: the path of an engine's socket must be short.
	tmp, err := os.MkdirTemp("/tmp", "t") //nolint:usetesting // see above
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(tmp)) })
	require.NoError(t, os.Chmod(tmp, 0o755))
	t.Setenv("TMPDIR", tmp)
	s, err := newStage(program(t, ""), &bytes.Buffer{})
	require.NoError(t, err)

	require.NoError(t, s.setUp(t.Context()))

	names := map[string]string{}
	for _, p := range s.places {
		names[p.name] = p.skipped
		require.Equal(t, p.skipped == "" && p.name != "local", p.config != nil, p.name)
	}
	require.Len(t, names, 4)
	require.Empty(t, names["local"])
	if os.Geteuid() == 0 {
		require.Empty(t, names["docker"])
	}
	require.NoFileExists(t, filepath.Join(s.dir, "sshd", "key"))
	require.NoError(t, s.clear())
	require.NoDirExists(t, s.dir)
	require.Empty(t, s.processes())
}
