package bubblewrap

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/process"
	"github.com/tenure-dev/tenure/drivers/rundir"
)

// stray is a process that has a runtime's mark, as if a sandbox had lost it.
func stray(t *testing.T, runtimeID string) drivers.Process {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sleep", "600")
	cmd.Env = []string{rundir.RuntimeVar + "=" + runtimeID}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	p, err := process.Identify(cmd.Process.Pid)
	require.NoError(t, err)
	return p
}

// To look at every process of the machine is for when it is not known how a command ended.
func TestAReleaseLooksForProcessesOnlyIfAnEndWasNotSeen(t *testing.T) {
	t.Parallel()
	const sleeps = `setsid sleep 600 & echo begun; sleep 600`
	killParent := func(r *driverstest.Runtime, d drivers.Driver) {
		req := drivers.ExecRequest{
			Handle: r.Handle, Argv: []string{"sh", "-c", sleeps}, JournalDir: filepath.Join(t.TempDir(), "j"),
		}
		e, err := d.(*Driver).StartExec(t.Context(), req)
		require.NoError(t, err)
		driverstest.AwaitOutput(t, &driverstest.Running{Exec: e, JournalDir: req.JournalDir}, "begun")
		require.NoError(t, unix.Kill(e.(*running).command.Parent().PID, unix.SIGKILL))
		_, err = e.Wait(t.Context())
		require.NoError(t, err)
	}
	for name, unseen := range map[string]func(r *driverstest.Runtime){
		"": func(r *driverstest.Runtime) {
			require.Zero(t, r.Sh(`exit 0`).ExitCode)
			require.NotZero(t, r.Run(drivers.ExecRequest{Argv: []string{"absent"}}).ExitCode)
			_, err := r.Start(drivers.ExecRequest{Argv: []string{"sh", "-c", sleeps}}) // the release ends it
			require.NoError(t, err)
		},
		"the parent was killed": func(r *driverstest.Runtime) { killParent(r, r.Driver) },
		"another worker's parent was killed": func(r *driverstest.Runtime) {
			other, err := New(options(shownRoot(r)))
			require.NoError(t, err)
			killParent(r, other)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := driverstest.Acquire(t, features())
			unseen(r)
			p := stray(t, r.Handle.RuntimeID)
			root := shownRoot(r)
			require.NoError(t, r.Release())
			require.Equal(t, name == "", process.Alive(p))
			requireOnlyEtc(t, root)
			left, err := r.Driver.(*Driver).runtimes.Survivors(r.Handle.RuntimeID)
			require.NoError(t, err)
			for _, l := range left {
				require.Equal(t, p.PID, l.PID)
			}
		})
	}
}

func TestAReleaseEndsWhatAnotherWorkerStarted(t *testing.T) {
	t.Parallel()
	r := driverstest.Acquire(t, features())
	other, err := New(options(shownRoot(r)))
	require.NoError(t, err)
	req := drivers.ExecRequest{
		Handle: r.Handle, Argv: []string{"sh", "-c", "echo begun; exec sleep 600"}, JournalDir: filepath.Join(t.TempDir(), "j"),
	}
	e, err := other.StartExec(t.Context(), req)
	require.NoError(t, err)
	driverstest.AwaitOutput(t, &driverstest.Running{Exec: e, JournalDir: req.JournalDir}, "begun")
	require.NoError(t, r.Release())
	require.False(t, process.Alive(e.Process()))
	result, err := e.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, "parent_signaled", result.Why)
}
