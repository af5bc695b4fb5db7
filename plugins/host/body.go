package host

import (
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/process"
	"github.com/tenure-dev/tenure/plugins/internal/spawn"
)

// processBody is a process that leads a group of its own.
type processBody struct {
	cmd      *exec.Cmd
	identity drivers.Process
}

func (b *processBody) await() error { return spawn.Wait(b.cmd) }

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
