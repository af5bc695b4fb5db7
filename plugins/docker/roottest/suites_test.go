package roottest

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
)

// What differs for a user other than root, on a read-only root and with limits, from what the whole suite tests.
func TestCommandsOfAConfinedUserAreRunAndEndedAlike(t *testing.T) {
	t.Parallel()
	r := acquire(t, map[string]any{"user": "worker", "readOnlyRoot": true, "memoryMb": 256, "pids": 256, "cpus": 2})
	require.Equal(t, "in", string(r.Run(drivers.ExecRequest{Argv: []string{"cat", "/dev/stdin"}, Stdin: []byte("in")}).Stdout))
	require.Equal(t, "named\n", string(r.Sh(`echo named > /dev/stdout`).Stdout))
	require.Equal(t, 126, r.Run(drivers.ExecRequest{Argv: []string{"/etc/passwd"}}).ExitCode)
	require.Equal(t, "SIGSEGV", r.Sh(`kill -SEGV $$`).Signal)
	for _, script := range []string{`cat /proc/$PPID/environ`, `readlink /proc/$PPID/fd/0`, `cat /proc/1/environ`, `ls /proc/$PPID/fd`} {
		require.NotZero(t, r.Sh(script).ExitCode, script)
	}
	mark := "600." + fmt.Sprint(uuid.New().ID())
	done, _ := r.TimeOut(drivers.ExecRequest{
		Argv:    []string{"sh", "-c", `trap "" TERM; (setsid sh -c "sleep ` + mark + `; true" &); echo begun; sleep ` + mark},
		Timeout: time.Second, Grace: 100 * time.Millisecond,
	})
	require.Equal(t, drivers.ExecTimedOut, done.End)
	require.Zero(t, done.Leftovers)
	require.Equal(t, "begun\n", string(done.Stdout))
	other := begun(t, r, "600")
	require.NoError(t, unix.Kill(other.Process().PID, 0), "%+v", other.Process())
	require.NoError(t, r.Release())
	require.Equal(t, drivers.ExecKilled, r.Finish(other, time.Now()).End)
}

func TestTheDockerDriverKeepsItsPromises(t *testing.T) {
	t.Parallel()
	driverstest.Run(t, features(t, nil))
}
