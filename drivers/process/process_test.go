package process_test

import (
	"os/exec"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/process"
)

func TestAProcessIsNamedBeyondItsPID(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "sleep", "600")
	require.NoError(t, cmd.Start())
	p, err := process.Identify(cmd.Process.Pid)
	require.NoError(t, err)
	require.True(t, process.Alive(p))
	all, err := process.Descendants(unix.Getpid())
	require.NoError(t, err)
	require.True(t, slices.Contains(all, p))

	for _, stranger := range []drivers.Process{
		{PID: p.PID, StartTime: p.StartTime + 1, BootID: p.BootID}, {PID: p.PID, StartTime: p.StartTime, BootID: "another"},
	} {
		require.False(t, process.Alive(stranger))
		require.NoError(t, process.Signal(stranger, unix.SIGKILL))
	}
	require.True(t, process.Alive(p), "a stranger with its pid was signalled, and it was not")
	require.NoError(t, process.Signal(p, unix.SIGKILL))
	require.Error(t, cmd.Wait())
	require.False(t, process.Alive(p))
}
