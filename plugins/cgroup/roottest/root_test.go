package roottest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/plugins/cgroup"
)

// uid is a user that the machine need not know.
const uid = 64721

// A test starts itself again for the part that it plays as another user, or on a machine that has cgroup v2 only.
const part = "TENURE_TEST_PART"

// again is this test in another part.
func again(t *testing.T, name, hierarchy string, before ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	if len(before) == 0 {
		self = "/proc/self/exe" // another user may not reach the other name
	}
	args := append(before, self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), part + "=" + name, cgroup.Variable + "=" + hierarchy}
	cmd.Dir = "/"
	return cmd
}

// delegate makes cgroups for uid; what was made is gone in the end.
func delegate(t *testing.T) *cgroup.Delegation {
	t.Helper()
	name := "roottest-" + uuid.NewString()
	d, err := cgroup.Delegate(name, uid, uid)
	require.NoError(t, err)
	same, err := cgroup.Delegate(name, uid, uid)
	require.NoError(t, err, "it may be repeated")
	require.Equal(t, d.Hierarchy, same.Hierarchy)
	t.Cleanup(func() {
		require.NoError(t, d.Remove())
		require.NoError(t, d.Remove(), "this too")
	})
	return d
}

// asWorker plays a part as a user without privilege, started as the engine starts a worker.
func asWorker(t *testing.T, name string, d *cgroup.Delegation) {
	t.Helper()
	cmd := again(t, name, d.Hierarchy.Encode())
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	// It waits for its first line until it is where it belongs.
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	require.NoError(t, d.Place(cmd.Process.Pid))
	require.NoError(t, stdin.Close())
	require.NoError(t, cmd.Wait(), "%s", &out)
	require.Contains(t, out.String(), "--- PASS: "+t.Name())
}

func given(t *testing.T) *cgroup.Hierarchy {
	t.Helper()
	h, err := cgroup.Decode(os.Getenv(cgroup.Variable))
	require.NoError(t, err)
	return h
}

func TestAnUnprivilegedUserLimitsWhatItStarts(t *testing.T) {
	t.Parallel()
	if os.Getenv(part) == "" {
		asWorker(t, "worker", delegate(t))
		return
	}
	h := given(t)
	limits := cgroup.Limits{MemoryBytes: 64 << 20, Pids: 5, CPUs: 0.5}
	require.Empty(t, h.Missing(limits), "the machine of this test has them")
	g := h.Group("g")
	require.NoError(t, g.Make(limits, uid, uid))
	require.NoError(t, g.Make(limits, uid, uid), "it may be repeated")
	require.False(t, g.Full())
	useGroup(t, g)

	tail := exec.CommandContext(t.Context(), "tail", "/dev/zero")
	require.NoError(t, g.Make(limits, uid, uid))
	require.NoError(t, g.Start(tail))
	require.ErrorContains(t, tail.Wait(), "killed")
	kills, known := g.OOMKills()
	require.True(t, known)
	require.EqualValues(t, 1, kills)
	remove(t, g)
}

func remove(t *testing.T, g *cgroup.Group) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, g.Kill(ctx))
	require.NoError(t, g.Remove(ctx))
	require.Empty(t, g.Join())
	require.NoError(t, g.Remove(ctx), "what is gone is gone")
}

// useGroup starts a tree in a group, ends it and removes the group.
func useGroup(t *testing.T, g *cgroup.Group) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `setsid sleep 600 & setsid sleep 600 & echo; trap "" TERM; wait`)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, g.Start(cmd))
	_, err = out.Read(make([]byte, 1))
	require.NoError(t, err)
	inside, err := g.Processes()
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(inside), 3)
	require.Contains(t, inside, cmd.Process.Pid)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, g.Remove(ctx), context.DeadlineExceeded, "one that is inhabited is not removed")
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	remove(t, g)
	require.ErrorContains(t, <-done, "killed")
}

func TestALimitThatTheUserCannotSetIsAnError(t *testing.T) {
	t.Parallel()
	if os.Getenv(part) == "" {
		asWorker(t, "worker", delegate(t))
		return
	}
	h, err := cgroup.Detect()
	require.NoError(t, err)
	require.NotEmpty(t, h.Missing(cgroup.Limits{Pids: 5}), "its own cgroup is not its to divide: %+v", h)
	elsewhere := given(t)
	for c, dir := range elsewhere.V1 {
		elsewhere.V1[c] = dir + "/.."
	}
	if elsewhere.V2 != "" {
		elsewhere.V2 += "/.."
	}
	require.ErrorContains(t, elsewhere.Group("tenure-g").Make(cgroup.Limits{Pids: 5}, uid, uid), "permission denied")
}

// The machine may have v1; then its controllers are hidden, and what is left is v2 without any. Groups, their inhabitants and
// their end are the same.
func TestGroupsOfVersionTwo(t *testing.T) {
	t.Parallel()
	switch os.Getenv(part) {
	case "":
		cmd := again(t, "root", "", "unshare", "-m", "sh", "-c",
			`for c in memory pids cpu cpu,cpuacct; do umount /sys/fs/cgroup/$c 2>/dev/null; done; exec "$0" "$@"`)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "--- PASS: "+t.Name())
	case "root":
		d := delegate(t)
		require.NotEmpty(t, d.Hierarchy.V2)
		require.Empty(t, d.Hierarchy.V1)
		require.Equal(t, "v2", d.Hierarchy.Version())
		asWorker(t, "worker", d)
	case "worker":
		h := given(t)
		g := h.Group("g")
		require.NoError(t, os.Mkdir(h.V2+"/g", 0o755))
		useGroup(t, g)
	}
}
