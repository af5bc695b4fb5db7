package roottest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/execparent"
	"github.com/tenure-dev/tenure/drivers/rundir/rundirtest"
	"github.com/tenure-dev/tenure/plugins/bubblewrap"
	"github.com/tenure-dev/tenure/plugins/cgroup"
)

// uid is a user that the machine need not know.
const uid = 64720

func TestMain(m *testing.M) { driverstest.Main(m, execparent.Main) }

// The tests run twice: in this process, which is root, and in a worker that was started as the engine starts one.
const workerRoot = "TENURE_TEST_WORKER_ROOT"

// passable is a temporary directory that another user can pass through; t.TempDir is not.
func passable(t *testing.T) string {
	t.Helper()
	if root := os.Getenv(workerRoot); root != "" {
		dir, err := os.MkdirTemp(root, "t-") //nolint:usetesting // below what root removes
		require.NoError(t, err)
		return dir
	}
	require.Zero(t, os.Geteuid(), "this package needs root")
	dir, err := os.MkdirTemp("/var/tmp", "tenure-roottest-") //nolint:usetesting // see above
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o711))
	return dir
}

// hierarchy is where this process may make cgroups.
func hierarchy(t *testing.T) *cgroup.Hierarchy {
	t.Helper()
	if value := os.Getenv(cgroup.Variable); value != "" {
		h, err := cgroup.Decode(value)
		require.NoError(t, err)
		return h
	}
	return &delegate(t).Hierarchy
}

func delegate(t *testing.T) *cgroup.Delegation {
	t.Helper()
	d, err := cgroup.Delegate("roottest-"+uuid.NewString(), uid, uid)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Remove()) })
	return d
}

// worlds are what the drivers of the suite have on this machine.
var worlds driverstest.Behind[world]

type world struct {
	hierarchy *cgroup.Hierarchy
	root      string
}

func newDriver(t *testing.T, h *cgroup.Hierarchy) drivers.Driver {
	t.Helper()
	return newAt(t, h, filepath.Join(passable(t), "runtimes"))
}

func newAt(t *testing.T, h *cgroup.Hierarchy, root string) drivers.Driver {
	t.Helper()
	d, err := bubblewrap.New(bubblewrap.Options{
		Root: root, ParentCommand: []string{"/proc/self/exe", driverstest.ParentArg},
		Cgroups: h, UID: uid, GID: uid, Drain: 3 * time.Second,
	})
	require.NoError(t, err)
	return d
}

// features are those of a driver with limits.
func features(config string) driverstest.Features {
	return rundirtest.Keeps(driverstest.Features{
		New: func(t *testing.T) drivers.Driver {
			t.Helper()
			of := world{hierarchy: hierarchy(t), root: filepath.Join(passable(t), "runtimes")}
			return worlds.Add(newAt(t, of.hierarchy, of.root), of)
		},
		Peer: func(t *testing.T, d drivers.Driver) drivers.Driver {
			of := worlds.Of(d)
			return newAt(t, of.hierarchy, of.root)
		},
		Config: json.RawMessage(config), Posix: true, WholeTree: true, HostProcesses: true,
	}, func(d drivers.Driver) string { return worlds.Of(d).root })
}

const generous = `{"memoryMb": 256, "pids": 100, "cpus": 2}`

func TestTheDriverKeepsItsPromisesWithLimits(t *testing.T) {
	t.Parallel()
	driverstest.Run(t, features(generous))
}

// Everything in this package holds for a worker as the engine starts it: unprivileged, with cgroups that root made for it.
func TestAnUnprivilegedWorkerKeepsThemToo(t *testing.T) {
	t.Parallel()
	if os.Getenv(workerRoot) != "" {
		require.NotZero(t, os.Geteuid())
		return
	}
	out := asWorker(t, "-test.timeout=10m", "-test.v")
	require.Contains(t, out, "--- PASS: TestMemoryIsLimited")
}

// asWorker runs this package's tests in a process that was started as the engine starts a worker.
func asWorker(t *testing.T, args ...string) string {
	t.Helper()
	root := passable(t)
	require.NoError(t, os.Chown(root, uid, uid))
	delegated := delegate(t)
	worker := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	worker.Dir = root
	worker.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + root, "TMPDIR=" + root, workerRoot + "=" + root,
		cgroup.Variable + "=" + delegated.Hierarchy.Encode(), versionTwo + "=" + os.Getenv(versionTwo),
	}
	worker.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	var out strings.Builder
	worker.Stdout, worker.Stderr = &out, &out
	require.NoError(t, worker.Start())
	require.NoError(t, delegated.Place(worker.Process.Pid))
	require.NoError(t, worker.Wait(), "%s", &out)
	return out.String()
}

func TestMemoryIsLimitedForTheRuntimeAsAWhole(t *testing.T) {
	t.Parallel()
	r := driverstest.Acquire(t, features(`{"memoryMb": 64}`))
	require.JSONEq(t, fmt.Sprintf(`{"workspace": "/workspace", "network": "none", "cgroups": %q, "limits": {"memoryMb": 64}, "runtimeIdentity": %q}`,
		version(t), r.Field("runtimeIdentity")), string(r.Handle.Metadata))

	done := r.Run(drivers.ExecRequest{Argv: []string{"tail", "/dev/zero"}, Timeout: time.Minute})
	require.Equal(t, drivers.ExecSignaled, done.End)
	require.Equal(t, "SIGKILL", done.Signal)
	require.Equal(t, bubblewrap.OutOfMemory, done.Why)

	done = r.Run(drivers.ExecRequest{Argv: []string{"sh", "-c", "tail /dev/zero; exit $?"}, Timeout: time.Minute})
	require.Equal(t, 137, done.ExitCode)
	require.Equal(t, bubblewrap.OutOfMemory, done.Why)
	require.Equal(t, "still\n", string(r.Sh(`echo still`).Stdout), "the next command is fine")

	// What one command keeps in memory is missing for another: 40 MB fit once, and not twice. The kernel chooses whom it ends.
	e, err := r.Start(drivers.ExecRequest{Argv: []string{"sh", "-c", `head -c 40000000 /dev/zero > /dev/shm/held; echo begun; exec sleep 600`}})
	require.NoError(t, err)
	driverstest.AwaitOutput(t, e, "begun")
	second := r.Run(drivers.ExecRequest{Argv: []string{"sh", "-c", `head -c 40000000 /dev/zero > /dev/shm/held`}, Timeout: time.Minute})
	require.NoError(t, e.Kill(t.Context(), "held long enough"))
	first, err := e.Wait(t.Context())
	require.NoError(t, err)
	require.Contains(t, []string{first.Why, second.Why}, bubblewrap.OutOfMemory)
	done = r.Sh(`head -c 40000000 /dev/zero > /dev/shm/held`)
	require.Zero(t, done.ExitCode, "%+v %s", done, done.Stderr)
}

func TestTheSmallestLimitOfMemoryIsEnoughForACommand(t *testing.T) {
	t.Parallel()
	r := driverstest.Acquire(t, features(`{"memoryMb": 4}`))
	require.Equal(t, "fits\n", string(r.Sh(`echo fits`).Stdout))
}

func version(t *testing.T) string {
	t.Helper()
	h, err := cgroup.Find(os.Getenv(cgroup.Variable))
	require.NoError(t, err)
	return h.Version()
}

func TestProcessesAreLimited(t *testing.T) {
	t.Parallel()
	r := driverstest.Acquire(t, features(`{"pids": 10}`))
	done := r.Sh(`i=1; while [ $i -lt 30 ]; do sleep 600 >/dev/null & i=$((i+1)); echo $i; done`)
	require.Equal(t, drivers.ExecExited, done.End)
	require.NotZero(t, done.ExitCode)
	require.Contains(t, strings.ToLower(string(done.Stderr)), "fork")
	require.Equal(t, "2 3 4 5 6 7 8 9 10", strings.Join(strings.Fields(string(done.Stdout)), " "))

	two := driverstest.Acquire(t, features(`{"pids": 2}`))
	for range 10 {
		require.Zero(t, two.Sh(`sleep 0; true`).ExitCode, "two are allowed from the first moment; the sandbox's own do not count")
	}
	e, err := two.Start(drivers.ExecRequest{Argv: []string{"sh", "-c", `sleep 600 & echo begun; wait`}})
	require.NoError(t, err)
	driverstest.AwaitOutput(t, e, "begun")
	_, err = two.Start(drivers.ExecRequest{Argv: []string{"true"}})
	start, ok := errors.AsType[*drivers.StartError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "limits", start.Stage)
	require.Equal(t, "too_many_processes", start.Code)
	require.NotEmpty(t, start.Remediation)
	require.NoError(t, e.Kill(t.Context(), "enough"))
	_, err = e.Wait(t.Context())
	require.NoError(t, err)
	require.Zero(t, two.Run(drivers.ExecRequest{Argv: []string{"true"}}).ExitCode)

	one := driverstest.Acquire(t, features(`{"pids": 1}`))
	require.Zero(t, one.Run(drivers.ExecRequest{Argv: []string{"true"}}).ExitCode)
	require.NotZero(t, one.Sh(`sleep 0; true`).ExitCode)
}

func TestProcessorTimeIsLimited(t *testing.T) {
	t.Parallel()
	h := hierarchy(t)
	f := features(`{"cpus": 0.1}`)
	f.New = func(t *testing.T) drivers.Driver { t.Helper(); return newDriver(t, h) }
	r := driverstest.Acquire(t, f)
	e, err := r.Start(drivers.ExecRequest{Argv: []string{"sh", "-c", `while :; do :; done`}})
	require.NoError(t, err)
	// Only in a period in which the machine would have given it more is there something to limit.
	require.Eventually(t, func() bool {
		throttled := 0
		for _, dir := range append([]string{h.V2}, h.V1[cgroup.CPU]) {
			b, err := os.ReadFile(filepath.Join(dir, "rt-"+r.Handle.RuntimeID, "cpu.stat"))
			if err != nil {
				continue
			}
			for line := range strings.Lines(string(b)) {
				_, _ = fmt.Sscanf(line, "nr_throttled %d", &throttled)
			}
		}
		return throttled > 5
	}, 2*time.Minute, 50*time.Millisecond)
	require.NoError(t, e.Kill(t.Context(), "seen"))
	require.Equal(t, drivers.ExecKilled, r.Finish(e, time.Now()).End)
}

// versionTwo names the part of a test that plays where there is cgroup v2 only.
const versionTwo = "TENURE_TEST_VERSION_TWO"

// The machine may have v1; then its controllers are hidden. What is left is v2 without any: no limits, but the same way in.
func TestACommandJoinsAGroupOfVersionTwo(t *testing.T) {
	t.Parallel()
	if os.Getenv(versionTwo) == "" {
		if os.Getenv(workerRoot) != "" {
			return // played by root below
		}
		self, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), "unshare", "-m", "sh", "-c",
			`for c in memory pids cpu cpu,cpuacct; do umount /sys/fs/cgroup/$c 2>/dev/null; done; exec "$0" "$@"`,
			self, "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), versionTwo+"=root")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "--- PASS: "+t.Name())
		return
	}
	h := hierarchy(t)
	require.Equal(t, "v2", h.Version())
	f := features(`{"pids": 5, "limits": "best_effort"}`)
	f.New = func(t *testing.T) drivers.Driver { t.Helper(); return newDriver(t, h) }
	r := driverstest.Acquire(t, f)
	name := "rt-" + r.Handle.RuntimeID
	require.NoError(t, os.MkdirAll(filepath.Join(h.V2, name), 0o755)) // with controllers, Acquire does it
	if os.Geteuid() == 0 {
		// This process is not in what is delegated, so the sandbox cannot move a command there.
		_, err := r.Start(drivers.ExecRequest{Argv: []string{"true"}})
		start, ok := errors.AsType[*drivers.StartError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, "limits_unavailable", start.Code)
		require.Contains(t, start.Remediation, "delegated")
		asWorker(t, "-test.run=^"+t.Name()+"$", "-test.v")
		return
	}
	require.Contains(t, string(r.Sh(`cat /proc/self/cgroup`).Stdout), "/"+name+"\n")
	r.Sh(`printf '#!/no/such/interpreter' > script; chmod +x script`)
	require.Equal(t, 126, r.Run(drivers.ExecRequest{Argv: []string{"./script"}}).ExitCode, "a program's own fault is told from the cgroup's")
}

func TestReleaseRemovesTheCgroup(t *testing.T) {
	t.Parallel()
	h := hierarchy(t)
	d := newDriver(t, h)
	f := features(generous)
	f.New = func(*testing.T) drivers.Driver { return d }
	r := driverstest.Acquire(t, f)
	e, err := r.Start(drivers.ExecRequest{Argv: []string{"sh", "-c", `trap "" TERM; sleep 600 & echo begun; wait`}, Grace: time.Millisecond})
	require.NoError(t, err)
	driverstest.AwaitOutput(t, e, "begun")
	g := h.Group("rt-" + r.Handle.RuntimeID)
	require.Eventually(t, func() bool {
		inside, err := g.Processes()
		return err == nil && len(inside) == 2
	}, time.Minute, time.Millisecond, "the shell and sleep, and nothing of the sandbox itself")
	require.NotEmpty(t, g.Join())
	require.NoError(t, r.Release())
	require.Empty(t, g.Join(), "the directories are gone")

	// A cgroup does not outlive a restart of the machine; the runtime does.
	r = driverstest.Acquire(t, f)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	g = h.Group("rt-" + r.Handle.RuntimeID)
	require.NoError(t, g.Remove(ctx))
	require.Zero(t, r.Sh(`true`).ExitCode)
	require.NotEmpty(t, g.Join())
}

func TestACgroupThatCannotBeMadeRefusesTheLease(t *testing.T) {
	t.Parallel()
	h := &cgroup.Hierarchy{V1: map[string]string{cgroup.Pids: filepath.Join(passable(t), "no", "cgroup")}}
	root := filepath.Join(passable(t), "runtimes")
	d, err := bubblewrap.New(bubblewrap.Options{
		Root: root, ParentCommand: []string{"/proc/self/exe", driverstest.ParentArg}, Cgroups: h, UID: uid, GID: uid,
	})
	require.NoError(t, err)
	req := driverstest.AcquireRequest(features(`{"pids": 5}`))
	_, err = d.Acquire(t.Context(), req)
	require.Equal(t, drivers.OutcomeDefinite, drivers.OutcomeOf(err))
	require.ErrorContains(t, err, "limits_unavailable")
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	require.Len(t, entries, 1, "%v", entries)
}
