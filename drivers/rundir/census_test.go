package rundir

import (
	"os/exec"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Who asks sees what was there when it asked, however many ask at once.
func TestALookAtTheProcessesIsNeverOlderThanTheQuestion(t *testing.T) {
	t.Parallel()
	var c census
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 5 {
				cmd := exec.CommandContext(t.Context(), "sleep", "600")
				cmd.Dir = t.TempDir()
				if err := cmd.Start(); err != nil {
					t.Error(err)
					return
				}
				found, err := c.take()
				if err != nil || !slices.ContainsFunc(found, func(r resident) bool { return r.PID == cmd.Process.Pid && r.below(cmd.Dir) }) {
					t.Errorf("process %d is not found: %v", cmd.Process.Pid, err)
				}
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}
		})
	}
	group.Wait()
	require.Nil(t, c.next)
}
