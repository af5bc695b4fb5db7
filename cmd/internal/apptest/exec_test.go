package apptest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Case A31, first half: 200 MB of output, read slowly at first, then exit 3; every byte and a bounded engine.
func TestTwoHundredMegabytesOfOutputArriveWhole(t *testing.T) {
	t.Parallel()
	const size = 200_000_000
	e := apptest.Start(t, apptest.OnServer(t))
	lease := e.Acquire(e.Tenant(wire.AddEnvironment{}), wire.AcquireLease{}).Lease
	x, err := e.Client.StartExec(t.Context(), lease.ID, lease.Fence, wire.StartExec{
		Argv: []string{"sh", "-c", `head -c 200000000 /dev/zero | tr '\0' x; echo err >&2; exit 3`},
	})
	require.NoError(t, err)
	body, err := e.Client.RawOutput(t.Context(), x.ID, client.OutputOptions{Follow: true, Stream: "stdout"})
	require.NoError(t, err)
	defer body.Close()
	hash := sha256.New()
	var read int64
	// The reader takes 100 KB a second for as long as the command runs: it must hold nobody up.
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	ended := make(chan wire.Exec, 1)
	go func() { ended <- e.Ended(x.ID) }()
	var end wire.Exec
	for end.Result == nil {
		select {
		case end = <-ended:
		case <-ticker.C:
			n, err := io.CopyN(hash, body, 1_000)
			require.NoError(t, err)
			read += n
		}
	}
	require.Less(t, read, int64(size/2), "the command ended long before its reader was through")
	require.Less(t, peakMemory(t, e.PID()), 300<<20)
	n, err := io.Copy(hash, body)
	require.NoError(t, err)
	require.Equal(t, int64(size), read+n)
	require.Equal(t, 3, *end.Result.ExitCode)
	require.Equal(t, "complete", end.Output.State)
	require.Equal(t, int64(size), end.Output.Stdout.Bytes)
	require.Equal(t, hex.EncodeToString(hash.Sum(nil)), end.Output.Stdout.SHA256)
	require.Equal(t, int64(len("err\n")), end.Output.Stderr.Bytes)
	require.Less(t, peakMemory(t, e.PID()), 300<<20)
}

// peakMemory is the most that the process had in memory, in bytes.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			require.NoError(t, err)
			return kb << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// Case A31, second half: no command's output is ever empty.
func TestTwoThousandShortCommandsAllHaveTheirOutput(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t, apptest.OnServer(t), apptest.WithoutRace(t))
	tenant := e.Tenant(wire.AddEnvironment{})
	const workers, each = 8, 250
	var wg sync.WaitGroup
	for range workers {
		lease := e.Acquire(tenant, wire.AcquireLease{}).Lease
		wg.Go(func() {
			for n := range each {
				x, out, _ := e.Run(lease.ID, wire.StartExec{Argv: []string{"echo", "hi"}})
				if string(out) != "hi\n" || x.Result.ExitCode == nil || *x.Result.ExitCode != 0 {
					t.Errorf("run %d: output %q, result %+v", n, out, *x.Result)
				}
			}
		})
	}
	wg.Wait()
}

// Case A32: the whole tree ends with the timeout, and the lease works on.
func TestATimeoutEndsTheWholeTree(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t, apptest.OnServer(t))
	lease := e.Acquire(e.Tenant(wire.AddEnvironment{}), wire.AcquireLease{}).Lease
	for _, script := range []string{
		`sleep %s; true`, `sleep %s & wait`, `(sleep %s)`, `sleep %s | cat`, `setsid sleep %s & wait`, `trap "" TERM; sleep %s; sleep %[1]s`,
	} {
		mark := unlikeAny()
		script = fmt.Sprintf(script, mark)
		// What a busy machine does not let begin in time is run again with twice as much.
		begun := false
		for limit := int64(500); !begun && limit < time.Minute.Milliseconds(); limit *= 2 {
			x, out, _ := e.Run(lease.ID, wire.StartExec{Argv: []string{"sh", "-c", "echo begun; " + script}, TimeoutMs: limit})
			require.Equal(t, wire.EndTimeout, x.Result.End, script)
			require.Nil(t, x.Result.ExitCode)
			require.Zero(t, x.Result.Leftovers)
			require.True(t, apptest.Gone("sleep", mark), "a process of %q is alive", script)
			begun = string(out) == "begun\n"
		}
		require.True(t, begun, script)
		_, out, _ := e.Run(lease.ID, wire.StartExec{Argv: []string{"echo", "next"}})
		require.Equal(t, "next\n", string(out))
	}
}

// unlikeAny is a number of seconds that no other process of this machine sleeps.
func unlikeAny() string { return fmt.Sprintf("6%d", uuid.New().ID()) }

// Cases A22 and A33: bytes arrive as they were, whatever they are and wherever they were cut.
func TestOutputIsBytes(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t, apptest.OnServer(t))
	lease := e.Acquire(e.Tenant(wire.AddEnvironment{}), wire.AcquireLease{}).Lease
	for script, want := range map[string]string{
		`printf 'x\342'; sleep 0.3; printf '\202\254y'`: "x€y",
		`printf 'a\000b\377'`:                           "a\x00b\xff",
		`printf '%s' '\u0000'`:                          `\u0000`,
		`printf 'half \342\202'`:                        "half \xe2\x82",
		`printf '\355\240\275'`:                         "\xed\xa0\xbd",
	} {
		x, out, errs := e.Run(lease.ID, wire.StartExec{Argv: []string{"sh", "-c", script}})
		require.Equal(t, 0, *x.Result.ExitCode, script)
		require.Equal(t, []byte(want), out, script)
		require.Empty(t, errs)
	}
	x, out, errs := e.Run(lease.ID, wire.StartExec{
		Argv: []string{"sh", "-c", `for i in 1 2 3 4 5 6 7 8 9; do printf '\342'; printf '\316' >&2; sleep 0.02; printf '\202\254'; printf '\251' >&2; done`},
	})
	require.Equal(t, 0, *x.Result.ExitCode)
	require.Equal(t, strings.Repeat("€", 9), string(out), "the streams never mix bytes")
	require.Equal(t, strings.Repeat("Ω", 9), string(errs))
	box := strings.Repeat("┼", 350_000)
	_, out, _ = e.Run(lease.ID, wire.StartExec{Argv: []string{"cat"}, Stdin: box})
	require.True(t, bytes.Equal([]byte(box), out))
}

// Case A08 and A34: arguments, variables, directory and input arrive exactly, or the command is refused before it starts.
func TestArgumentsAndVariablesArriveExactlyOrAreRefused(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t, apptest.OnServer(t))
	lease := e.Acquire(e.Tenant(wire.AddEnvironment{}), wire.AcquireLease{}).Lease
	fifth := "it's $HOME \"x\" *\n"
	_, out, _ := e.Run(lease.ID, wire.StartExec{Argv: []string{"mkdir", "-p", `a dir's "name"`}})
	require.Empty(t, out)
	_, out, _ = e.Run(lease.ID, wire.StartExec{
		Argv: []string{"sh", "-c", `printf %s "$1"`, "name", fifth}, Cwd: `a dir's "name"`, Env: map[string]string{"A": "b"},
	})
	require.Equal(t, fifth, string(out))

	values := map[string]string{
		"MY-KEY": `it's "quoted"`, "a.b": "$(id)", "1X": "line\nbreak", "A B": strings.Repeat("y", 100<<10), "A;touch pwn": "`touch pwn`",
		"A\nB": "newline in the name",
	}
	_, out, _ = e.Run(lease.ID, wire.StartExec{Argv: []string{"env", "-0"}, Env: values})
	got := map[string]string{}
	for kv := range strings.SplitSeq(string(out), "\x00") {
		name, value, _ := strings.Cut(kv, "=")
		got[name] = value
	}
	for name, value := range values {
		require.Equal(t, value, got[name], name)
	}
	_, out, _ = e.Run(lease.ID, wire.StartExec{Argv: []string{"ls"}})
	require.NotContains(t, string(out), "pwn")

	for name, env := range map[string]map[string]string{
		"empty": {"": "x"}, "equals": {"A=B": "x"}, "NUL": {"A\x00": "x"}, "NUL in value": {"A": "\x00"}, "200 KB": {"A": strings.Repeat("x", 200<<10)},
	} {
		_, err := e.Client.StartExec(t.Context(), lease.ID, lease.Fence, wire.StartExec{Argv: []string{"true"}, Env: env})
		requireProblem(t, err, 400, name)
	}
}

func requireProblem(t *testing.T, err error, status int, about string) {
	t.Helper()
	var p *client.Problem
	require.ErrorAs(t, err, &p, about)
	require.Equal(t, status, p.Status, "%s: %+v", about, p)
	require.NotEmpty(t, p.Code, about)
	require.NotEmpty(t, p.Remediation, about)
}

func TestACommandThatDoesNotExistIsExit127(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t, apptest.OnServer(t))
	lease := e.Acquire(e.Tenant(wire.AddEnvironment{}), wire.AcquireLease{}).Lease
	x, _, errs := e.Run(lease.ID, wire.StartExec{Argv: []string{"no-such-command-here"}})
	require.Equal(t, wire.EndExited, x.Result.End)
	require.Equal(t, 127, *x.Result.ExitCode)
	require.Contains(t, string(errs), "no-such-command-here")
	x, _, _ = e.Run(lease.ID, wire.StartExec{Argv: []string{"/etc/passwd"}})
	require.Equal(t, 126, *x.Result.ExitCode)
	x, _, _ = e.Run(lease.ID, wire.StartExec{Argv: []string{"true"}, Cwd: "missing"})
	require.Equal(t, wire.EndStartFailed, x.Result.End)
	require.Equal(t, "cwd", *x.Result.Stage)
	x, _, _ = e.Run(lease.ID, wire.StartExec{Argv: []string{"sh", "-c", "kill -SEGV $$"}})
	require.Equal(t, wire.EndSignaled, x.Result.End)
}

func TestAReleaseEndsWhatRunsInTheLease(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t, apptest.OnServer(t))
	lease := e.Acquire(e.Tenant(wire.AddEnvironment{}), wire.AcquireLease{}).Lease
	mark := unlikeAny()
	x, err := e.Client.StartExec(t.Context(), lease.ID, lease.Fence, wire.StartExec{Argv: []string{"sh", "-c", "setsid sleep " + mark + " & sleep " + mark}})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return apptest.Running("sleep", mark) }, waitLong, 10*time.Millisecond)
	got, err := e.Client.ReleaseLease(context.Background(), lease.ID, wire.Release{}, client.Wait(waitLong))
	require.NoError(t, err)
	require.Equal(t, wire.LeaseReleased, got.Status)
	require.Equal(t, wire.EndKilled, e.Ended(x.ID).Result.End)
	require.True(t, apptest.Gone("sleep", mark))
	_, err = e.Client.StartExec(t.Context(), lease.ID, lease.Fence, wire.StartExec{Argv: []string{"true"}})
	requireProblem(t, err, 410, "exec in an ended lease")
}
