package driverstest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
)

// slack is how long an end may take beyond its limit on a busy machine, and far less than what is ended would take by itself.
const slack = time.Minute

// token is a number of seconds to sleep that no other process sleeps, so that this test's processes can be told apart.
func token() string { return fmt.Sprintf("600.%d", uuid.New().ID()) }

func testEnd(t *testing.T, f Features) {
	for name, script := range map[string]string{
		"a child in the foreground":  `echo begun; sleep %s; true`,
		"a child in the background":  `echo begun; sleep %s & wait`,
		"a subshell":                 `echo begun; (sleep %s)`,
		"a pipe":                     `echo begun; sleep %s | cat`,
		"a process deaf to SIGTERM":  `trap "" TERM; echo begun; sleep %s; sleep %[1]s`,
		"a child in another session": `echo begun; setsid sleep %s & wait`,
		"an orphan in a session":     `(setsid sh -c "sleep %s; true" &); echo begun; sleep %[1]s`,
	} {
		if strings.Contains(script, "setsid") && !f.WholeTree {
			continue
		}
		t.Run("a timeout ends "+name, func(t *testing.T) {
			t.Parallel()
			r := Acquire(t, f)
			mark := token()
			const grace = 500 * time.Millisecond
			done, limit := r.TimeOut(drivers.ExecRequest{
				Argv: []string{"sh", "-c", fmt.Sprintf(script, mark)}, Timeout: 2 * time.Second, Grace: grace,
			})
			require.Equal(t, drivers.ExecTimedOut, done.End)
			require.Less(t, done.Took, limit+grace+slack)
			require.Equal(t, "begun\n", string(done.Stdout))
			require.Zero(t, done.Leftovers)
			requireNoProcess(t, f, mark)
			require.Equal(t, "next\n", string(r.Sh("echo next").Stdout))
		})
	}
	t.Run("a command may end in order within the grace", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		done, limit := r.TimeOut(drivers.ExecRequest{
			Argv:    []string{"sh", "-c", `trap 'echo bye; exit 0' TERM; echo hi; while :; do sleep 0.02; done`},
			Timeout: 2 * time.Second, Grace: 2 * slack,
		})
		require.Equal(t, drivers.ExecTimedOut, done.End)
		require.Equal(t, "hi\nbye\n", string(done.Stdout))
		require.Less(t, done.Took, limit+slack)
	})
	if !f.WholeTree {
		return
	}
	t.Run("the end of the process does not wait for the end of the output", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		mark := token()
		done := r.Sh(`setsid sleep ` + mark + ` & echo main; exit 4`)
		require.Equal(t, drivers.ExecExited, done.End)
		require.Equal(t, 4, done.ExitCode)
		require.Equal(t, "main\n", string(done.Stdout))
		require.Equal(t, drivers.OutputAbandoned, done.Output.State)
		require.Zero(t, done.Leftovers)
		require.Less(t, done.Took, slack)
		requireNoProcess(t, f, mark)
	})
	t.Run("what is left behind may finish its output", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		done := r.Sh(`(sleep 0.1; echo late) & echo main`)
		require.Equal(t, "main\nlate\n", string(done.Stdout))
		require.Equal(t, drivers.OutputComplete, done.Output.State)
	})
	t.Run("a daemon that let go of the output ends with its command", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		mark := token()
		done := r.Sh(`setsid sleep ` + mark + ` </dev/null >/dev/null 2>&1 & echo main`)
		require.Equal(t, drivers.OutputComplete, done.Output.State)
		requireNoProcess(t, f, mark)
	})
	t.Run("release ends a tree that is deaf to SIGTERM", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		mark := token()
		e, err := r.Start(drivers.ExecRequest{
			Argv:  []string{"sh", "-c", fmt.Sprintf(`trap "" TERM; setsid sleep %s & echo begun; sleep %[1]s; sleep %[1]s`, mark)},
			Grace: 100 * time.Millisecond,
		})
		require.NoError(t, err)
		AwaitOutput(t, e, "begun")
		require.NoError(t, r.Release())
		requireNoProcess(t, f, mark)
		require.Equal(t, drivers.ExecKilled, r.Finish(e, time.Now()).End)
	})
}
