// Package proc reads the process table and signals processes without ever hitting a stranger that got a reused pid.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
)

// Info is one row of the process table.
type Info struct {
	PID, PPID int
	// State is the letter of /proc/PID/stat; 'Z' has ended and waits for its parent, 'X' is gone.
	State byte
	// StartTime is in clock ticks since boot; with PID it names a process for the life of the boot.
	StartTime uint64
}

// Ended reports whether the process runs no more, though its parent may not have asked for its status.
func (i Info) Ended() bool { return i.State == 'Z' || i.State == 'X' || i.State == 'x' }

// Read returns the row of pid.
func Read(pid int) (Info, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Info{}, err
	}
	return parseStat(b)
}

// parseStat parses /proc/PID/stat. The second field is the program's name in parentheses and may itself hold spaces and
// parentheses, so the fields after it are counted from the last one.
func parseStat(b []byte) (Info, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return Info{}, errors.New("malformed stat line")
	}
	rest := strings.Fields(string(b[end+1:]))
	if len(rest) < 20 || len(rest[0]) != 1 {
		return Info{}, errors.New("short stat line")
	}
	pid, err1 := strconv.Atoi(strings.TrimSpace(string(b[:open])))
	ppid, err2 := strconv.Atoi(rest[1])
	start, err3 := strconv.ParseUint(rest[19], 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return Info{}, fmt.Errorf("parse stat line: %w", err)
	}
	return Info{PID: pid, PPID: ppid, State: rest[0][0], StartTime: start}, nil
}

// List returns the process table. Processes that end or start meanwhile may or may not be in it.
func List() ([]Info, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer d.Close() //nolint:errcheck // only read
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	all := make([]Info, 0, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if info, err := Read(pid); err == nil {
			all = append(all, info)
		}
	}
	return all, nil
}

// Descendants returns the children of root, their children and so on, without those that have ended.
func Descendants(root int) ([]Info, error) {
	all, err := List()
	if err != nil {
		return nil, err
	}
	children := make(map[int][]Info, len(all))
	for _, p := range all {
		children[p.PPID] = append(children[p.PPID], p)
	}
	var found []Info
	queue := children[root]
	seen := map[int]bool{root: true}
	for len(queue) > 0 {
		p := queue[0]
		queue = queue[1:]
		if seen[p.PID] {
			continue // a pid reused while the table was read must not loop
		}
		seen[p.PID] = true
		queue = append(queue, children[p.PID]...)
		if !p.Ended() {
			found = append(found, p)
		}
	}
	return found, nil
}

// BootID names this boot of the machine; "" where the kernel does not tell.
var BootID = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
})

// Identity names the process that has pid now.
func Identity(pid int) (drivers.Process, error) {
	info, err := Read(pid)
	if err != nil {
		return drivers.Process{}, fmt.Errorf("identify process %d: %w", pid, err)
	}
	return drivers.Process{PID: pid, StartTime: info.StartTime, BootID: BootID()}, nil
}

// Alive reports whether exactly this process still runs.
func Alive(p drivers.Process) bool {
	if p.PID <= 0 || p.BootID != BootID() {
		return false
	}
	info, err := Read(p.PID)
	return err == nil && info.StartTime == p.StartTime && !info.Ended()
}

// Signal sends sig to the process that has pid and startTime, and to no other. A process that is gone is no error.
func Signal(pid int, startTime uint64, sig unix.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		return nil
	case err != nil:
		return fmt.Errorf("signal process %d: %w", pid, err)
	}
	defer unix.Close(fd) //nolint:errcheck // it only pins a process
	// The descriptor pins the process; only now does the comparison say whose it is.
	info, err := Read(pid)
	if err != nil || info.StartTime != startTime {
		return nil
	}
	err = unix.PidfdSendSignal(fd, sig, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal process %d: %w", pid, err)
	}
	return nil
}
