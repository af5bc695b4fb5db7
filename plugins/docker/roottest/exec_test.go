package roottest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/plugins/docker/dockertest"
)

// A31. Not parallel: it looks at the memory of the whole process.
func TestTwoHundredMegabytesPassThroughLittleMemory(t *testing.T) {
	r := acquire(t, nil)
	const size = 200_000_000
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	e, err := r.Start(drivers.ExecRequest{Argv: []string{
		"sh", "-c", fmt.Sprintf(`head -c %d /dev/zero | tr '\0' x; echo err >&2; exit 3`, size),
	}})
	require.NoError(t, err)
	ended := make(chan drivers.ExecResult, 1)
	go func() {
		result, _ := e.Wait(t.Context())
		ended <- result
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var most uint64
	for {
		select {
		case result := <-ended:
			require.Equal(t, drivers.ExecExited, result.End)
			require.Equal(t, 3, result.ExitCode)
			require.Equal(t, drivers.OutputComplete, result.Output.State)
			require.EqualValues(t, size, result.Output.Stdout.Bytes)
			require.Equal(t, sumOfX(size), result.Output.Stdout.SHA256)
			require.EqualValues(t, 4, result.Output.Stderr.Bytes)
			require.Less(t, most, before.HeapAlloc+32<<20)
			return
		case <-tick.C:
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
	}
}

// A38, A37.
func TestASecretIsInNoArgumentListAndNoRecordOfTheEngine(t *testing.T) {
	t.Parallel()
	r := acquire(t, nil)
	secret := "secret-" + uuid.NewString()
	mark := "600." + fmt.Sprint(uuid.New().ID())
	e, err := r.Start(drivers.ExecRequest{
		Argv: []string{"sh", "-c", `read line; echo "$line" | wc -c; sleep ` + mark}, Stdin: []byte(secret + "\n"),
		Env: []drivers.EnvVar{{Name: "TOKEN", Value: secret}},
	})
	require.NoError(t, err)
	driverstest.AwaitOutput(t, e, "\n")
	seen := false
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		require.NotContains(t, string(b), secret, name)
		seen = seen || bytes.Contains(b, []byte(mark))
	}
	require.True(t, seen, "the command's own arguments can be seen from here")
	// The parent's environment is the image's; only the command has the secret.
	holders := 0
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	for _, name := range environs {
		b, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(b, []byte(secret)) {
			continue
		}
		holders++
		line, err := os.ReadFile(filepath.Join(filepath.Dir(name), "cmdline"))
		require.NoError(t, err)
		require.Contains(t, string(line), mark)
	}
	require.Positive(t, holders)
	c, err := engine.Client.ContainerInspect(t.Context(), r.Field("containerId"), client.ContainerInspectOptions{})
	require.NoError(t, err)
	require.NotContains(t, string(c.Raw), secret)
	require.NotEmpty(t, c.Container.ExecIDs)
	require.NoError(t, e.Kill(t.Context(), "seen"))
	r.Finish(e, time.Now())
	require.NoError(t, filepath.WalkDir(engine.Dir, func(path string, entry os.DirEntry, err error) error {
		image := strings.Contains(path, "/vfs/") || strings.Contains(path, "/overlay2/") // also of what runs
		if err == nil && entry.Type().IsRegular() && !image && !strings.HasSuffix(path, "/inner") {
			if b, err := os.ReadFile(path); err == nil {
				require.NotContains(t, string(b), secret, path)
			}
		}
		return nil
	}))
}

func TestTheProcessIsNamedAsThisMachineDoes(t *testing.T) {
	t.Parallel()
	r := acquire(t, nil)
	mark := "600." + fmt.Sprint(uuid.New().ID())
	e, err := r.Start(drivers.ExecRequest{Argv: []string{"sleep", mark}})
	require.NoError(t, err)
	p := e.Process()
	line, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/cmdline")
	require.NoError(t, err)
	require.Equal(t, "sleep\x00"+mark+"\x00", string(line))
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	require.NoError(t, err)
	require.Equal(t, strings.TrimSpace(string(boot)), p.BootID)
	require.NoError(t, unix.Kill(p.PID, unix.SIGUSR1))
	done := r.Finish(e, time.Now())
	require.Equal(t, drivers.ExecSignaled, done.End)
	require.Equal(t, "SIGUSR1", done.Signal)
}

func begun(t *testing.T, r *driverstest.Runtime, mark string) *driverstest.Running {
	t.Helper()
	e, err := r.Start(drivers.ExecRequest{Argv: []string{"sh", "-c", "echo begun; exec sleep " + mark}})
	require.NoError(t, err)
	driverstest.AwaitOutput(t, e, "begun")
	return e
}

func requireUnknown(t *testing.T, r *driverstest.Runtime, e *driverstest.Running, why string) {
	t.Helper()
	done := r.Finish(e, time.Now())
	require.Equal(t, drivers.ExecUnknown, done.End)
	require.Equal(t, why, done.Why)
	require.Equal(t, drivers.OutputLost, done.Output.State)
	require.Equal(t, "begun\n", string(done.Stdout))
}

func TestACommandWhoseContainerEndsIsUnknown(t *testing.T) {
	t.Parallel()
	for why, end := range map[string]func(t *testing.T, id string){
		"container_stopped": func(t *testing.T, id string) {
			_, err := engine.Client.ContainerKill(t.Context(), id, client.ContainerKillOptions{})
			require.NoError(t, err)
		},
		"container_gone": func(t *testing.T, id string) {
			_, err := engine.Client.ContainerRemove(t.Context(), id, client.ContainerRemoveOptions{Force: true})
			require.NoError(t, err)
		},
	} {
		t.Run(why, func(t *testing.T) {
			t.Parallel()
			r := acquire(t, nil)
			e := begun(t, r, "600")
			end(t, r.Field("containerId"))
			done := r.Finish(e, time.Now())
			require.Equal(t, drivers.ExecUnknown, done.End)
			said := []string{why, "parent_gone", "link_lost"} // the engine may hear of it a little later than we
			if why == "container_gone" {
				said = append(said, "container_stopped") // which a container is before it is removed
			}
			require.Contains(t, said, done.Why)
		})
	}
}

func TestACommandWhoseParentIsKilledIsUnknownAndEndsWithTheRuntime(t *testing.T) {
	t.Parallel()
	r := acquire(t, nil)
	e := begun(t, r, "600")
	p := e.Process()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	require.NoError(t, err)
	var parent int
	_, err = fmt.Sscan(strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))[1], &parent)
	require.NoError(t, err)
	require.NoError(t, unix.Kill(parent, unix.SIGKILL))
	requireUnknown(t, r, e, "parent_gone")
	require.Equal(t, "next", words(r.Sh("echo next")), "nothing else in the container ended")
	require.NoError(t, r.Release())
	requireGone(t, p.PID)
}

// requireGone waits until a process is no more: until it has ended, and its shim has seen it.
func requireGone(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool { return errors.Is(unix.Kill(pid, 0), unix.ESRCH) }, time.Minute, 10*time.Millisecond)
}

func TestEndingOneCommandLeavesTheOthers(t *testing.T) {
	t.Parallel()
	r := acquire(t, nil)
	other := begun(t, r, "600")
	e := begun(t, r, "600")
	require.NoError(t, e.Kill(t.Context(), "enough"))
	require.Equal(t, drivers.ExecKilled, r.Finish(e, time.Now()).End)
	require.NoError(t, unix.Kill(other.Process().PID, 0))
	require.NoError(t, other.Kill(t.Context(), "enough"))
	r.Finish(other, time.Now())
}

func TestAReleaseByAnotherProcessEndsWhatRuns(t *testing.T) {
	t.Parallel()
	r := acquire(t, nil)
	e := begun(t, r, "600")
	pid := e.Process().PID
	require.NoError(t, newDriver(t).Release(t.Context(), drivers.ReleaseRequest{Handle: r.Handle}))
	require.Equal(t, drivers.ExecUnknown, r.Finish(e, time.Now()).End)
	requireGone(t, pid)
	requireNothingLeft(t, r.Handle.RuntimeID)
}

func TestAnEngineThatDiesOrSticksIsAClearFailure(t *testing.T) {
	t.Parallel()
	own, err := dockertest.Start(t.Context(), dockertest.NoBridge)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, own.Stop()) })
	opts := options()
	opts.Host, opts.Inner, opts.Silence = own.Host, own.Inner, 2*time.Second
	d := newDriverOf(t, opts)
	req := driverstest.AcquireRequest(features(t, nil))
	rt, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	handle := driverstest.HandleOf(req, rt)
	lonely := driverstest.AcquireRequest(features(t, map[string]any{"network": "bridge"}))
	_, err = d.Acquire(t.Context(), lonely)
	require.ErrorContains(t, requireFailure(t, err, drivers.OutcomeDefinite, "network_unavailable"), "bridge")
	left, err := own.Left(t.Context(), lonely.RuntimeID)
	require.NoError(t, err)
	require.Empty(t, left)
	probed, err := d.Probe(t.Context(), drivers.ProbeRequest{Config: lonely.Config})
	require.NoError(t, err)
	require.Equal(t, "abilities", probed.Phase)
	f := features(t, map[string]any{"timeoutMs": 1500})
	start := func() (drivers.Exec, error) {
		return drivers.StartExec(t.Context(), d, drivers.ExecRequest{
			Handle: handle, Argv: []string{"sleep", "600"}, JournalDir: filepath.Join(t.TempDir(), uuid.NewString()),
		})
	}
	e, err := start()
	require.NoError(t, err)

	handle.Config = f.Config
	require.NoError(t, unix.Kill(own.PID(), unix.SIGSTOP))
	result, err := e.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, drivers.ExecUnknown, result.End)
	require.Equal(t, "link_lost", result.Why)
	verbs := map[string]func() error{
		"acquire": func() error { _, err := d.Acquire(t.Context(), driverstest.AcquireRequest(f)); return err },
		"exec":    func() error { _, err := start(); return err },
		"list": func() error {
			_, err := d.ListRuntimes(t.Context(), drivers.ListRequest{Installation: driverstest.Installation, Config: f.Config})
			return err
		},
		"release": func() error { return d.Release(t.Context(), drivers.ReleaseRequest{Handle: handle}) },
		"probe": func() error {
			probed, err := d.Probe(t.Context(), drivers.ProbeRequest{Config: f.Config})
			require.NoError(t, err)
			require.Equal(t, "ping", probed.Phase)
			return fmt.Errorf("%s: %s", probed.Diagnostics[0].Code, probed.Summary)
		},
	}
	for name, verb := range verbs {
		began := time.Now()
		require.ErrorContains(t, verb(), "did not end within 1.5s", name)
		require.Less(t, time.Since(began), time.Minute, name)
	}
	handle.Config = req.Config
	require.NoError(t, unix.Kill(own.PID(), unix.SIGCONT))
	e, err = start()
	require.NoError(t, err)
	require.NoError(t, unix.Kill(own.PID(), unix.SIGKILL))
	result, err = e.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, drivers.ExecUnknown, result.End)
	_, err = d.Acquire(t.Context(), driverstest.AcquireRequest(f))
	_ = requireFailure(t, err, drivers.OutcomeRetryable, "engine_unreachable")
}
