// Package spawn starts the processes of plugins so that they hold nothing of the engine: a session and process group of
// their own, an environment that is exactly what is named, no open file but their pipes, no supplementary group, and no
// way to more privileges.
package spawn

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Credential is whom a process runs as.
type Credential struct{ UID, GID uint32 }

// keepFiles keeps every file that this process has open from its children. Those that Go opens are so already; whoever
// started this process may have left others.
func keepFiles() error {
	err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	entries, err := os.ReadDir("/proc/self/fd") // a kernel before 5.11
	if err != nil {
		return fmt.Errorf("keep open files from a child: %w", err)
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// Start starts cmd as leader of a session of its own; its process group has its pid. With a credential it runs as that user with no
// supplementary groups. cmd.Env is the whole environment; a nil one is empty.
func Start(cmd *exec.Cmd, as *Credential) error {
	if cmd.Env == nil {
		cmd.Env = []string{}
	}
	if err := keepFiles(); err != nil {
		return err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if as != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: as.UID, Gid: as.GID, Groups: []uint32{}}
	}
	started := make(chan error, 1)
	go func() {
		// The bit belongs to a thread and passes to what it starts. This thread is not given back: it ends with the goroutine.
		runtime.LockOSThread()
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			started <- fmt.Errorf("give up new privileges: %w", err)
			return
		}
		started <- cmd.Start()
	}()
	return <-started
}

// Wait waits for the end of a process that [Start] has started, ends what it left in its process group, and returns how it
// ended, as cmd.Wait does.
func Wait(cmd *exec.Cmd) error {
	pid := cmd.Process.Pid
	for {
		// The process stays in the table until cmd.Wait: its group can be ended and no stranger gets its pid.
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_ = unix.Kill(-pid, unix.SIGKILL)
	return cmd.Wait()
}
