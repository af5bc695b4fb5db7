package driverstest

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
)

func testEnvironment(t *testing.T, f Features) {
	t.Run("names that a shell refuses arrive exactly", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		want := []drivers.EnvVar{
			{Name: "MY-KEY", Value: "1"}, {Name: "a.b", Value: `"two" 'three'`}, {Name: "1X", Value: "$(id)"},
			{Name: "A B", Value: "line\nbreak"}, {Name: "A\nB", Value: ""}, {Name: "A;touch pwn", Value: "`touch pwn`"},
			{Name: "RAW", Value: "\xff\x80"}, {Name: "LONG", Value: spaces(drivers.MaxArgBytes - len("LONG="))},
		}
		got := environ(t, r, want)
		for _, v := range want {
			require.Contains(t, got, v.Name+"="+v.Value)
		}
		require.Empty(t, r.Run(drivers.ExecRequest{Argv: []string{"ls"}}).Stdout, "nothing in a name or a value is run")
	})
	t.Run("the later of two equal names wins", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		got := environ(t, r, []drivers.EnvVar{{Name: "X", Value: "1"}, {Name: "HOME", Value: "/h"}, {Name: "X", Value: "2"}})
		require.Contains(t, got, "X=2")
		require.NotContains(t, got, "X=1")
		require.Contains(t, got, "HOME=/h")
		require.Equal(t, 1, count(got, "HOME="))
	})
	t.Run("nothing of the engine's environment is there", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, Marker, os.Getenv(MarkerName), "the test binary's TestMain is driverstest.Main")
		r := Acquire(t, f)
		names := []string{}
		for _, v := range environ(t, r, nil) {
			name, _, _ := strings.Cut(v, "=")
			names = append(names, name)
		}
		for _, base := range []string{"PATH", "HOME", "TMPDIR", "LANG"} {
			require.Contains(t, names, base)
		}
		require.NotContains(t, names, MarkerName)
		for _, script := range []string{
			`env`, `cat /proc/self/environ`, `cat /proc/$PPID/environ`, `cat /proc/$PPID/cmdline`,
			`cat /proc/$(cut -d' ' -f4 /proc/$PPID/stat)/cmdline`, `ls -l /proc/$PPID/fd /proc/$PPID/cwd`,
		} {
			done := r.Run(drivers.ExecRequest{Argv: []string{"sh", "-c", script}})
			require.False(t, containsMarker(done.Stdout) || containsMarker(done.Stderr), "%s: %s", script, done.Stdout)
		}
		if f.HostProcesses {
			done := r.Sh(`cat /proc/$PPID/environ`)
			require.Empty(t, done.Stdout)
			done = r.Sh(`ls /proc/self/fd | wc -l`)
			require.Equal(t, "4", strings.TrimSpace(string(done.Stdout)), "0, 1, 2 and the one that ls opened")
		}
	})
	t.Run("home is the workspace and the temporary directory is writable", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		done := r.Sh(`[ "$PWD" = "$HOME" ] && touch "$HOME/a" "$TMPDIR/b" && umask && printf '\303\244' | wc -m`)
		require.Equal(t, []string{"0022", "1"}, strings.Fields(string(done.Stdout)), "%s", done.Stderr)
	})
}

// environ is the environment that a command sees, by /proc so that no program prints it its own way.
func environ(t *testing.T, r *Runtime, env []drivers.EnvVar) []string {
	t.Helper()
	done := r.Run(drivers.ExecRequest{Argv: []string{"cat", "/proc/self/environ"}, Env: env})
	require.Zero(t, done.ExitCode, "%s", done.Stderr)
	var got []string
	for v := range bytes.SplitSeq(bytes.TrimSuffix(done.Stdout, []byte{0}), []byte{0}) {
		got = append(got, string(v))
	}
	slices.Sort(got)
	return got
}

func count(vars []string, prefix string) (n int) {
	for _, v := range vars {
		if strings.HasPrefix(v, prefix) {
			n++
		}
	}
	return n
}
