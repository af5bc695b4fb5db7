package proc

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestTheNameOfAProgramCannotConfuseTheTable(t *testing.T) {
	t.Parallel()
	info, err := parseStat([]byte("42 (a) S 1 (b) R 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 987 0 0\n"))
	require.NoError(t, err)
	require.Equal(t, Info{PID: 42, PPID: 7, State: 'R', StartTime: 987}, info)
	for _, bad := range []string{"", "42", "42 (x)", "42 (x) R 1", "x (y) R 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 987 0"} {
		_, err := parseStat([]byte(bad))
		require.Error(t, err, bad)
	}
}

func TestASignalReachesOnlyTheProcessThatWasMeant(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sleep", "600")
	require.NoError(t, cmd.Start())
	p, err := Identity(cmd.Process.Pid)
	require.NoError(t, err)
	require.True(t, Alive(p))
	below, err := Descendants(os.Getpid())
	require.NoError(t, err)
	require.Contains(t, pids(below), p.PID)

	other := p
	other.StartTime++
	require.False(t, Alive(other))
	require.NoError(t, Signal(other.PID, other.StartTime, unix.SIGKILL))
	require.True(t, Alive(p))
	require.NoError(t, Signal(p.PID, p.StartTime, unix.SIGKILL))
	require.Error(t, cmd.Wait())
	require.False(t, Alive(p))
	require.NoError(t, Signal(p.PID, p.StartTime, unix.SIGKILL), "gone is no error")
}

func pids(all []Info) (ids []int) {
	for _, p := range all {
		ids = append(ids, p.PID)
	}
	return ids
}
