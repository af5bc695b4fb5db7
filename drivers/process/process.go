// Package process names processes beyond the reuse of their pids, for whoever starts some that may outlive it.
package process

import (
	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/internal/proc"
)

// Identify names the process that has pid now.
func Identify(pid int) (drivers.Process, error) { return proc.Identity(pid) }

// Alive reports whether exactly this process still runs.
func Alive(p drivers.Process) bool { return proc.Alive(p) }

// Signal sends sig to this process and to no other. A process that is gone is no error.
func Signal(p drivers.Process, sig unix.Signal) error {
	if p.BootID != proc.BootID() {
		return nil
	}
	return proc.Signal(p.PID, p.StartTime, sig)
}

// Descendants are the children of a process, their children and so on, without those that have ended.
func Descendants(pid int) ([]drivers.Process, error) {
	found, err := proc.Descendants(pid)
	if err != nil {
		return nil, err
	}
	all := make([]drivers.Process, 0, len(found))
	for _, p := range found {
		all = append(all, drivers.Process{PID: p.PID, StartTime: p.StartTime, BootID: proc.BootID()})
	}
	return all, nil
}
