package bubblewrap

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
)

// awaitGone waits for processes that have text in their arguments to end.
func awaitGone(t *testing.T, text string) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil || !strings.Contains(string(b), text) {
			continue
		}
		var pid int
		require.NoError(t, json.Unmarshal([]byte(filepath.Base(filepath.Dir(name))), &pid))
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		var n int
		for n, err = unix.Poll(fds, 60_000); errors.Is(err, unix.EINTR); n, err = unix.Poll(fds, 60_000) {
		}
		require.NoError(t, unix.Close(fd))
		require.NoError(t, err)
		require.Equal(t, 1, n, "process %d is left: %q", pid, b)
	}
}

func requireOnlyEtc(t *testing.T, root string) {
	t.Helper()
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	require.Len(t, entries, 1, "%v", entries)
	require.Equal(t, ".etc", entries[0].Name())
}

func TestAKilledParentTakesTheSandboxWithIt(t *testing.T) {
	t.Parallel()
	r := driverstest.Acquire(t, features())
	mark := "600." + uuid.NewString()[:6]
	mark = strings.Map(func(c rune) rune {
		if c >= 'a' {
			return c - 'a' + '0'
		}
		return c
	}, mark)
	e, err := r.Start(drivers.ExecRequest{Argv: []string{"sh", "-c", "setsid sleep " + mark + " & echo begun; sleep " + mark}})
	require.NoError(t, err)
	driverstest.AwaitOutput(t, e, "begun")
	require.NoError(t, unix.Kill(e.Exec.(*running).command.Parent().PID, unix.SIGKILL))
	result, err := e.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, drivers.ExecUnknown, result.End)
	require.Equal(t, "parent_gone", result.Why)
	awaitGone(t, mark)
	root := shownRoot(r)
	require.NoError(t, r.Release())
	requireOnlyEtc(t, root)
}

func TestAKilledSandboxMakesTheEndUnknown(t *testing.T) {
	t.Parallel()
	r := driverstest.Acquire(t, features())
	e, err := r.Start(drivers.ExecRequest{Argv: []string{"sh", "-c", "echo begun; exec sleep 600"}})
	require.NoError(t, err)
	driverstest.AwaitOutput(t, e, "begun")
	require.NoError(t, unix.Kill(e.Process().PID, unix.SIGKILL))
	done := r.Finish(e, time.Now())
	require.Equal(t, drivers.ExecUnknown, done.End)
	require.Equal(t, "sandbox_gone", done.Why)
	require.Equal(t, "begun\n", string(done.Stdout))
	require.Zero(t, done.Leftovers)
}

// workerRoot tells the other half of the test below where to work.
const workerRoot = "TENURE_TEST_WORKER_ROOT"

// killed are the runtime of that worker and what its commands sleep: like no other, also of another run of these tests, since
// both are looked for in the whole machine.
func killed(root string) (runtime, mark string) {
	sum := crc32.ChecksumIEEE([]byte(root))
	return fmt.Sprintf("rt-killed-%d", sum), fmt.Sprintf("600.9%d", sum)
}

func TestAKilledWorkerLeavesWhatTheNextOneRemoves(t *testing.T) {
	t.Parallel()
	if root := os.Getenv(workerRoot); root != "" {
		workUntilKilled(t, root)
	}
	root := filepath.Join(passable(t), "runtimes")
	killedRuntime, killedMark := killed(root)
	worker := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$")
	worker.Env = append(os.Environ(), workerRoot+"="+root)
	worker.Stderr = os.Stderr
	out, err := worker.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, worker.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	require.NoError(t, worker.Process.Kill())
	require.Error(t, worker.Wait())

	// A process that some sandbox lost, if that could be.
	lost := exec.CommandContext(t.Context(), "sleep", "600")
	lost.Env = []string{"TENURE_RUNTIME_ID=" + killedRuntime}
	require.NoError(t, lost.Start())
	d, err := New(options(root))
	require.NoError(t, err)
	listed, err := d.ListRuntimes(t.Context(), drivers.ListRequest{Installation: driverstest.Installation})
	require.NoError(t, err)
	require.Len(t, listed, 1)
	require.Equal(t, killedRuntime, listed[0].RuntimeID)
	require.Equal(t, "bubblewrap://"+killedRuntime, *listed[0].ProviderLeaseID)
	release := drivers.ReleaseRequest{Handle: drivers.Handle{RuntimeID: killedRuntime}, Attempt: 1}
	require.NoError(t, d.Release(t.Context(), release))
	require.ErrorContains(t, lost.Wait(), "killed")
	awaitGone(t, killedMark)
	requireOnlyEtc(t, root)
	require.NoError(t, d.Release(t.Context(), release))
}

// workUntilKilled is the worker.
func workUntilKilled(t *testing.T, root string) {
	t.Helper()
	d, err := New(options(root))
	require.NoError(t, err)
	req := driverstest.AcquireRequest(features())
	killedRuntime, killedMark := killed(root)
	req.RuntimeID = killedRuntime
	rt, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	script := "setsid sleep " + killedMark + " & echo begun; trap '' TERM; sleep " + killedMark + "; sleep " + killedMark
	e, err := d.StartExec(t.Context(), drivers.ExecRequest{
		Handle: driverstest.HandleOf(req, rt), ExecID: "1", Argv: []string{"sh", "-c", script},
		JournalDir: filepath.Join(filepath.Dir(root), "journal"), Grace: 100 * time.Millisecond,
	})
	require.NoError(t, err)
	driverstest.AwaitOutput(t, &driverstest.Running{Exec: e, JournalDir: filepath.Join(filepath.Dir(root), "journal")}, "begun")
	_, err = os.Stdout.WriteString("ready\n")
	require.NoError(t, err)
	_, err = e.Wait(t.Context())
	require.NoError(t, err)
}

func TestTheConfigurationBoundsEveryCommandsTime(t *testing.T) {
	t.Parallel()
	f := features()
	f.Config = []byte(`{"timeoutMs": 300}`)
	r := driverstest.Acquire(t, f)
	for _, asked := range []time.Duration{0, time.Hour} {
		done := r.Run(drivers.ExecRequest{Argv: []string{"sleep", "600"}, Timeout: asked})
		require.Equal(t, drivers.ExecTimedOut, done.End)
	}
	require.Equal(t, 50*time.Millisecond, Config{TimeoutMs: 300}.timeout(50*time.Millisecond))
}

func TestAnExitCodeAndASignalAreToldApart(t *testing.T) {
	t.Parallel()
	r := driverstest.Acquire(t, features())
	done := r.Sh(`exit 137`)
	require.Equal(t, drivers.ExecExited, done.End)
	require.Equal(t, 137, done.ExitCode)
	require.Empty(t, done.Why)
	done = r.Sh(`kill -KILL $$`)
	require.Equal(t, drivers.ExecSignaled, done.End)
	require.Equal(t, "SIGKILL", done.Signal)
	require.Empty(t, done.Why, "no limit did it")
}

func TestAStartThatIsCanceledLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	r := driverstest.Acquire(t, features())
	mark := fmt.Sprintf("600.7%d", os.Getpid())
	for i := range 15 {
		cause := errors.New("the client gave up")
		ctx, cancel := context.WithCancelCause(t.Context())
		timer := time.AfterFunc(time.Duration(i)*3*time.Millisecond, func() { cancel(cause) })
		e, err := drivers.StartExec(ctx, r.Driver, drivers.ExecRequest{
			Handle: r.Handle, Argv: []string{"sleep", mark}, JournalDir: filepath.Join(t.TempDir(), "j"),
		})
		timer.Stop()
		if err != nil {
			require.ErrorIs(t, err, cause)
			continue
		}
		require.NoError(t, e.Kill(t.Context(), "started after all"))
		_, err = e.Wait(t.Context())
		require.NoError(t, err)
	}
	awaitGone(t, mark)
	left, err := r.Driver.(*Driver).runtimes.Survivors(r.Handle.RuntimeID)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestASandboxThatDoesNotComeUpCanBeGivenUp(t *testing.T) {
	t.Parallel()
	mark := fmt.Sprintf("600.8%d", os.Getpid())
	d := with(t, func(o *Options) {
		o.Bwrap = fakeBwrap(t, `case "$1" in --version) exit 0;; esac; echo here >&2; exec sleep `+mark)
	})
	req := driverstest.AcquireRequest(features())
	_, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = d.StartExec(ctx, drivers.ExecRequest{
		Handle: driverstest.HandleOf(req, drivers.Runtime{}), Argv: []string{"true"}, JournalDir: filepath.Join(t.TempDir(), "j"),
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(began), time.Minute)
	awaitGone(t, mark)
	handle := drivers.Handle{RuntimeID: req.RuntimeID}
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: handle}))
}
