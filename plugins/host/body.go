package host

import (
	"errors"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/process"
)

// processBody is a process that leads a group of its own.
type processBody struct {
	cmd      *exec.Cmd
	identity drivers.Process
}

func (b *processBody) await() error {
	pid := b.cmd.Process.Pid
	for {
		// The process stays in the table until cmd.Wait: its group can be killed and no stranger gets its pid.
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL) // what it started in its group
	return b.cmd.Wait()
}

func (b *processBody) term() { _ = process.Signal(b.identity, unix.SIGTERM) }

// kill ends the process and its descendants outside of its group, which goes with it.
func (b *processBody) kill() {
	if b.identity.PID == 0 { // it could not be identified, but it is our child and not yet waited for
		_ = b.cmd.Process.Kill()
		return
	}
	escaped, _ := process.Descendants(b.identity.PID) // who is not found is not ended
	_ = process.Signal(b.identity, unix.SIGKILL)
	for _, d := range escaped {
		_ = process.Signal(d, unix.SIGKILL)
	}
}

var _ body = (*processBody)(nil)
