package roottest

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/plugins/docker/dockertest"
)

func acquire(t *testing.T, fields map[string]any) *driverstest.Runtime {
	t.Helper()
	return driverstest.Acquire(t, features(t, fields))
}

func requireFailure(t *testing.T, err error, outcome drivers.Outcome, code string) *drivers.Failure {
	t.Helper()
	f, ok := errors.AsType[*drivers.Failure](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, code, f.Code, "%v", err)
	require.Equal(t, outcome, f.Outcome, "%v", err)
	require.NotEmpty(t, f.Step)
	return f
}

func requireNothingLeft(t *testing.T, runtimeID string) {
	t.Helper()
	left, err := engine.Left(t.Context(), runtimeID)
	require.NoError(t, err)
	require.Empty(t, left)
}

// words are the output's without white space.
func words(done driverstest.Done) string {
	return strings.Join(strings.Fields(string(done.Stdout)), " ")
}

func TestACommandHasNoPrivilegeAndNoNetwork(t *testing.T) {
	t.Parallel()
	r := acquire(t, nil)
	fields := make(map[string]string)
	for line := range strings.Lines(string(r.Run(drivers.ExecRequest{Argv: []string{"cat", "/proc/self/status"}}).Stdout)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.Join(strings.Fields(value), " ")
	}
	require.Equal(t, "1", fields["NoNewPrivs"])
	require.Equal(t, "2", fields["Seccomp"], "a filter")
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		require.Equal(t, "0000000000000000", fields[set], set)
	}
	require.Equal(t, "0000000000000000", fields["SigIgn"])
	require.Equal(t, "lo", words(r.Sh("ls /sys/class/net")))
	for _, script := range []string{
		`chown 1:1 .`, `mount -t tmpfs none /tmp`, `mknod x c 1 3`, `cat /proc/1/environ`, `readlink /proc/1/fd/0`, `readlink /proc/$PPID/fd/0`, `hostname other`,
		`echo x >> /.tenure/tenure`,
	} {
		require.NotZero(t, r.Sh(script).ExitCode, script)
	}
	done := r.Sh(`for n in $(seq 1 64); do kill -$n 1 || echo refused $n; done; echo next`)
	require.Equal(t, "next", words(done), "no signal ends process 1: %s", done.Stderr)
	require.Equal(t, "next", words(r.Sh("echo next")))
}

func TestWithABridgeACommandReachesTheNetwork(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", engine.Gateway+":0")
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("from outside"))
	}))
	require.NoError(t, server.Listener.Close())
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	done := acquire(t, map[string]any{"network": "bridge"}).Sh("wget -qO- " + server.URL)
	require.Equal(t, "from outside", words(done), "%s", done.Stderr)
	require.NotZero(t, acquire(t, nil).Sh("wget -qO- "+server.URL).ExitCode)
}

func TestMemoryIsLimited(t *testing.T) {
	t.Parallel()
	r := acquire(t, map[string]any{"memoryMb": 96})
	done := r.Run(drivers.ExecRequest{Argv: []string{"tail", "-c", "500000000", "/dev/zero"}})
	require.Equal(t, drivers.ExecSignaled, done.End)
	require.Equal(t, "SIGKILL", done.Signal)
	require.Equal(t, "next", words(r.Sh("echo next")))
}

func TestProcessesAreLimited(t *testing.T) {
	t.Parallel()
	r := acquire(t, map[string]any{"pids": 64})
	for range 5 {
		done := r.Sh(`i=0; while [ $i -lt 200 ]; do sleep 60 & i=$((i+1)); done; wait`)
		require.Equal(t, drivers.ExecExited, done.End, "%s", done.Why)
		require.Equal(t, 2, done.ExitCode)
		require.Contains(t, string(done.Stderr), "fork")
	}
	require.Equal(t, "next", words(r.Sh("echo next")))
}

func TestProcessorsAreLimited(t *testing.T) {
	t.Parallel()
	r := acquire(t, map[string]any{"cpus": 0.5})
	// By cgroup v1 or v2, whichever the machine has.
	got := words(r.Sh(`cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us 2>/dev/null || cat /sys/fs/cgroup/cpu.max`))
	require.Equal(t, "50000 100000", got)
}

func TestAnEngineThatCannotLimitIsNotAskedTo(t *testing.T) {
	t.Parallel()
	host := engine.Proxy(t, rewriteInfo(`"PidsLimit":true`, `"PidsLimit":false`))
	f := features(t, map[string]any{"host": host, "pids": 100, "memoryMb": 100})
	req := driverstest.AcquireRequest(f)
	_, err := newDriver(t).Acquire(t.Context(), req)
	failure := requireFailure(t, err, drivers.OutcomeDefinite, "limit_unsupported")
	require.ErrorContains(t, failure, "config.pids")
	require.NotContains(t, failure.Error(), "memoryMb")
	requireNothingLeft(t, req.RuntimeID)
	probed, err := newDriver(t).Probe(t.Context(), drivers.ProbeRequest{Config: f.Config})
	require.NoError(t, err)
	require.False(t, probed.OK)
	require.Equal(t, "abilities", probed.Phase)
}

func TestTheWorkspaceBelongsToTheUserOfTheContainer(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		fields map[string]any
		want   string // uid, gid, the workspace's uid and gid
	}{
		"the image's":         {map[string]any{"image": dockertest.Rich}, "1234 2345 1234 2345"},
		"root":                {nil, "0 0 0 0"},
		"a name":              {map[string]any{"user": "worker"}, "1234 2345 1234 2345"},
		"a name and a group":  {map[string]any{"user": "worker:extra"}, "1234 3456 1234 3456"},
		"an uid with a row":   {map[string]any{"user": "1234"}, "1234 2345 1234 2345"},
		"an uid without one":  {map[string]any{"user": "4321"}, "4321 0 4321 0"},
		"numbers":             {map[string]any{"user": "4321:8765"}, "4321 8765 4321 8765"},
		"with read-only root": {map[string]any{"user": "worker", "readOnlyRoot": true}, "1234 2345 1234 2345"},
		"root, read-only":     {map[string]any{"readOnlyRoot": true}, "0 0 0 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := acquire(t, row.fields)
			require.Equal(t, row.want, words(r.Sh(`id -u; id -g; stat -c '%u %g' "$HOME"`)))
			done := r.Sh(`touch "$HOME/a" "$TMPDIR/b" && pwd`)
			require.Equal(t, "/workspace", words(done), "%s", done.Stderr)
			wrote := r.Sh(`touch /bin/x && echo wrote`)
			require.Equal(t, name == "root", words(wrote) == "wrote")
			require.NoError(t, r.Release())
			requireNothingLeft(t, r.Handle.RuntimeID)
		})
	}
}

func TestAUserThatTheImageDoesNotHaveIsRefused(t *testing.T) {
	t.Parallel()
	for _, user := range []string{"nobody-at-all", "worker:nogroup"} {
		req := driverstest.AcquireRequest(features(t, map[string]any{"user": user}))
		_, err := newDriver(t).Acquire(t.Context(), req)
		f := requireFailure(t, err, drivers.OutcomeDefinite, "user_not_found")
		require.Contains(t, f.Remediation, "config.user")
		requireNothingLeft(t, req.RuntimeID)
	}
}

func TestAnImageWithOneStaticProgramWorks(t *testing.T) {
	t.Parallel()
	r := acquire(t, map[string]any{"image": dockertest.Bare})
	require.Equal(t, "hi there\n", string(r.Run(drivers.ExecRequest{Argv: []string{"/echo", "hi", "there"}}).Stdout))
	require.Equal(t, 127, r.Run(drivers.ExecRequest{Argv: []string{"sh"}}).ExitCode)
}

func TestOnlyPathIsTakenFromTheImage(t *testing.T) {
	t.Parallel()
	r := acquire(t, map[string]any{"image": dockertest.Rich})
	done := r.Sh(`cat /proc/$$/environ | tr '\0' '\n' | sort`)
	require.Equal(t, "HOME=/workspace LANG=C.UTF-8 PATH=/opt/rich:/bin TMPDIR=/tmp", words(done), "%s", done.Stderr)
	require.Equal(t, "rich", words(r.Run(drivers.ExecRequest{Argv: []string{"richtool"}})), "looked up in the image's PATH")
	require.Empty(t, words(r.Sh("ls -A")), "what the image has in /workspace stays out")
	c, err := engine.Client.ContainerInspect(t.Context(), r.Field("containerId"), client.ContainerInspectOptions{})
	require.NoError(t, err)
	require.Nil(t, c.Container.State.Health)
}

func TestTheProgramIsCopiedWhereItCannotBeMounted(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*testing.T) string{
		"asked for": nil,
		// The engine has no such descriptor, as one in another mount name space has no such file.
		"found out": openInner,
	} {
		for _, fields := range []map[string]any{nil, {"readOnlyRoot": true, "user": "worker"}} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				opts := options()
				opts.CopyInner = change == nil
				if change != nil {
					opts.Inner = change(t)
				}
				f := features(t, fields)
				f.New = func(t *testing.T) drivers.Driver { t.Helper(); return newDriverOf(t, opts) }
				r := driverstest.Acquire(t, f)
				require.Equal(t, "hi", words(r.Sh("echo hi")))
				volume, err := engine.Client.VolumeInspect(t.Context(), "tenure-"+r.Handle.RuntimeID+"-inner", client.VolumeInspectOptions{})
				require.NoError(t, err)
				require.Equal(t, r.Handle.RuntimeID, volume.Volume.Labels["tenure.runtime"])
				require.NoError(t, r.Release())
				requireNothingLeft(t, r.Handle.RuntimeID)
			})
		}
	}
}
