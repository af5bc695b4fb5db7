package bubblewrap

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
)

func TestACommandWritesOnlyToItsWorkspaceAndItsTemporaryFiles(t *testing.T) {
	t.Parallel()
	r := driverstest.Acquire(t, features())
	for _, path := range []string{
		"/x", "/usr/x", "/usr/bin/x", "/etc/x", "/etc/passwd", "/etc/hosts", "/dev/x", "/proc/x", "/proc/sys/kernel/hostname",
	} {
		done := r.Run(drivers.ExecRequest{Argv: []string{"sh", "-c", `echo x >> "$1"`, "sh", path}})
		require.NotZero(t, done.ExitCode, path)
	}
	done := r.Sh(`echo 1 > /workspace/a && echo 2 > /tmp/b && echo 3 > /dev/shm/c && echo 4 > /dev/null`)
	require.Zero(t, done.ExitCode, "%s", done.Stderr)
	done = r.Sh(`cat /workspace/a /tmp/b; ls /dev/shm`)
	require.Equal(t, "1\n2\n", string(done.Stdout), "the next command sees the files of the former")
}

func TestACommandSeesNothingOfTheMachineButItsPrograms(t *testing.T) {
	t.Parallel()
	r := driverstest.Acquire(t, features())
	for _, path := range []string{"/etc/shadow", "/etc/gshadow", "/etc/ssl/private", "/root", "/home", "/var", "/run", "/sys", "/boot", "/mnt"} {
		require.NotZero(t, r.Run(drivers.ExecRequest{Argv: []string{"ls", "-d", path}}).ExitCode, path)
	}
	require.Equal(t, "bin dev etc lib lib64 proc sbin tmp usr workspace",
		strings.Join(strings.Fields(string(r.Sh(`ls / | grep -v -x -e lib32 -e libx32`).Stdout)), " "))
	require.Equal(t, "root tenure nobody", strings.Join(strings.Fields(string(r.Sh(`cut -d: -f1 /etc/passwd`).Stdout)), " "))
	require.Equal(t, "tenure sandbox", strings.Join(strings.Fields(string(r.Sh(`id -un; uname -n`).Stdout)), " "))
}

func TestACommandHasNoPrivilegeAndCannotMakeAny(t *testing.T) {
	t.Parallel()
	r := driverstest.Acquire(t, features())
	status := string(r.Sh(`cat /proc/self/status`).Stdout)
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		require.Contains(t, status, set+":\t0000000000000000\n")
	}
	require.Contains(t, status, "NoNewPrivs:\t1\n")
	require.NotContains(t, status, "Uid:\t0\t")
	require.NotZero(t, r.Sh(`unshare --user --map-root-user true`).ExitCode)
	require.NotZero(t, r.Sh(`mount -t tmpfs none /tmp`).ExitCode)
	require.NotZero(t, r.Sh(`kill -9 1 && sleep 0.2 && ! kill -0 1`).ExitCode, "its parent lives on")
}

func TestACommandSeesNoProcessButItsOwn(t *testing.T) {
	t.Parallel()
	mark := fmt.Sprintf("600.%d", uuid.New().ID())
	stranger := exec.CommandContext(t.Context(), "sleep", mark)
	require.NoError(t, stranger.Start())
	t.Cleanup(func() { _ = stranger.Process.Kill(); _ = stranger.Wait() })
	r := driverstest.Acquire(t, features())
	own := r.Sh(`sleep ` + mark + ` & cat /proc/[0-9]*/cmdline | tr '\0' ' '; kill $!`)
	require.Contains(t, string(own.Stdout), mark, "its own it does see")
	// The brackets keep the search from finding itself.
	other := r.Sh(`cat /proc/[0-9]*/cmdline | tr '\0' ' ' | grep -o -e '[s]leep ` + mark + `' -e '/[b]wrap'`)
	require.Empty(t, other.Stdout, "neither the stranger nor bwrap, which is on the other side")
	require.Equal(t, 1, other.ExitCode)
	pids := strings.Fields(string(r.Sh(`echo /proc/[0-9]*`).Stdout))
	require.Len(t, pids, 2, "its parent and itself: %v", pids)
	require.NotZero(t, r.Sh(`kill -0 `+strconv.Itoa(stranger.Process.Pid)).ExitCode)
}

func TestACommandFindsNothingOfAnotherRuntime(t *testing.T) {
	t.Parallel()
	f := features()
	shared := newDriver(t)
	f.New = func(*testing.T) drivers.Driver { return shared }
	one, other := driverstest.Acquire(t, f), driverstest.Acquire(t, f)
	name := "secret-" + uuid.NewString()
	require.Zero(t, one.Sh(`echo theirs > `+name+` && chmod 777 . && chmod 666 `+name+` && cp `+name+` /tmp/ && cp `+name+` /dev/shm/`).ExitCode)
	l := shared.(*Driver).runtimes.Layout(one.Handle.RuntimeID)
	require.FileExists(t, filepath.Join(l.Workspace, name))
	require.NotZero(t, other.Run(drivers.ExecRequest{Argv: []string{"cat", filepath.Join(l.Workspace, name)}}).ExitCode)
	require.Empty(t, other.Sh(`find / -name '`+name+`' 2>/dev/null`).Stdout)
	require.NotEmpty(t, one.Sh(`find / -name '`+name+`' 2>/dev/null`).Stdout)
}

func TestTheNetworkIsNoneUnlessTheHostsIsAskedFor(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	dial := drivers.ExecRequest{Argv: []string{"bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/` + port}}

	none := driverstest.Acquire(t, features())
	require.NotZero(t, none.Run(dial).ExitCode)
	require.Equal(t, "lo", strings.TrimSpace(string(none.Sh(`tail -n +3 /proc/net/dev | cut -d: -f1`).Stdout)))
	require.NotZero(t, none.Sh(`ls /etc/resolv.conf`).ExitCode)

	f := features()
	f.Config = []byte(`{"network": "host"}`)
	host := driverstest.Acquire(t, f)
	require.Zero(t, host.Run(dial).ExitCode)
	machines, err := os.ReadFile("/etc/hosts")
	require.NoError(t, err)
	require.Equal(t, string(machines), string(host.Sh(`cat /etc/hosts`).Stdout))
}

// bwrap runs outside the walls, so nothing that a request says may steer it. The loader writes a file for each program that
// it loads with these variables: if bwrap had them, the file would be on the machine.
func TestTheEnvironmentOfACommandDoesNotReachBwrap(t *testing.T) {
	t.Parallel()
	outside := passable(t)
	require.NoError(t, os.Chmod(outside, 0o777))
	r := driverstest.Acquire(t, features())
	for _, dir := range []string{outside, "/workspace"} {
		done := r.Run(drivers.ExecRequest{Argv: []string{"true"}, Env: []drivers.EnvVar{
			{Name: "LD_DEBUG", Value: "libs"}, {Name: "LD_DEBUG_OUTPUT", Value: dir + "/loaded"},
		}})
		require.Zero(t, done.ExitCode, "%s", done.Stderr)
	}
	written, err := filepath.Glob(outside + "/loaded*")
	require.NoError(t, err)
	require.Empty(t, written)
	require.Equal(t, "1\n", string(r.Sh(`ls /workspace/loaded* | wc -l`).Stdout), "the command itself has them")
}

func TestASecretIsOnNoCommandLineAndInNoOtherProcess(t *testing.T) {
	t.Parallel()
	secret := "secret-" + uuid.NewString()
	r := driverstest.Acquire(t, features())
	e, err := r.Start(drivers.ExecRequest{
		Argv: []string{"sh", "-c", "echo begun; exec sleep 600"}, Env: []drivers.EnvVar{{Name: "TOKEN", Value: secret}},
	})
	require.NoError(t, err)
	driverstest.AwaitOutput(t, e, "begun")
	holders := 0
	for _, kind := range []string{"cmdline", "environ"} {
		files, err := filepath.Glob("/proc/[0-9]*/" + kind)
		require.NoError(t, err)
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil || !strings.Contains(string(b), secret) {
				continue
			}
			holders++
			require.Equal(t, "environ", kind)
			args, err := os.ReadFile(filepath.Join(filepath.Dir(name), "cmdline"))
			require.NoError(t, err)
			// The shell that has said begun, or what it has become by now: one process either way.
			require.Contains(t, []string{"sleep\x00600\x00", "sh\x00-c\x00echo begun; exec sleep 600\x00"}, string(args))
		}
	}
	require.Equal(t, 1, holders)
	require.NoError(t, e.Kill(t.Context(), "seen"))
	_, err = e.Wait(t.Context())
	require.NoError(t, err)
	left := exec.CommandContext(t.Context(), "grep", "-rqs", secret, shownRoot(r), e.JournalDir)
	require.Error(t, left.Run(), "no file keeps it")
	done, err := r.Start(drivers.ExecRequest{
		Argv: []string{"true"}, Cwd: "absent", Env: []drivers.EnvVar{{Name: "TOKEN", Value: secret}},
	})
	require.Nil(t, done.Exec)
	require.Error(t, err)
	require.NotContains(t, err.Error(), secret)
}

func shownRoot(r *driverstest.Runtime) string { return r.Driver.(*Driver).runtimes.Root() }
