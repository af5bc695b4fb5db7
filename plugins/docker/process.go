package docker

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"github.com/tenure-dev/tenure/drivers"
)

// locate names a process of a container as this machine does. The parent runs until it is let go, so it can be found by the
// pid that the engine knows; the command is its child with the right pid inside. A command that has ended by now is
// represented by its parent. On another machine the process keeps the name that it has in its container.
func (x *innerExec) locate(ctx context.Context, there drivers.Process) drivers.Process {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || strings.TrimSpace(string(boot)) != there.BootID {
		return there
	}
	pid, err := x.pid(ctx)
	if err != nil {
		return there
	}
	parent, err := identity(pid)
	if err != nil {
		return there // the engine runs on this kernel, but its processes are not seen from here
	}
	parent.BootID = there.BootID
	children, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return parent
	}
	for _, name := range children {
		list, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for field := range strings.FieldsSeq(string(list)) {
			pid, err := strconv.Atoi(field)
			if err != nil || pidInside(pid) != there.PID {
				continue
			}
			if child, err := identity(pid); err == nil && child.StartTime == there.StartTime {
				child.BootID = there.BootID
				return child
			}
		}
	}
	return parent
}

// pidLimit bounds the wait for a pid that the engine does not know yet.
const pidLimit = 2 * time.Second

// pid is the parent's on the engine's machine. The parent may speak a moment before the engine has taken note of it.
func (x *innerExec) pid(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, pidLimit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		exec, err := x.engine.ExecInspect(ctx, x.execID, client.ExecInspectOptions{})
		if err != nil || exec.PID > 0 {
			return exec.PID, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// identity reads the start time of a process.
func identity(pid int) (drivers.Process, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return drivers.Process{}, err
	}
	// The name may hold spaces and parentheses; the fields after it are counted from its last one.
	rest := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(rest) < 20 {
		return drivers.Process{}, fmt.Errorf("process %d: short stat line", pid)
	}
	start, err := strconv.ParseUint(rest[19], 10, 64)
	return drivers.Process{PID: pid, StartTime: start}, err
}

// pidInside is the pid of a process in the innermost of its name spaces; 0 if it cannot be told.
func pidInside(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if pids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			all := strings.Fields(pids)
			if len(all) == 0 {
				return 0
			}
			inside, err := strconv.Atoi(all[len(all)-1])
			if err != nil {
				return 0
			}
			return inside
		}
	}
	return 0
}
