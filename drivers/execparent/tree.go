package execparent

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers/internal/proc"
)

// killLimit bounds how long descendants are hunted. Only a process stuck in the kernel outlasts it.
const killLimit = 5 * time.Second

// tree is everything below this process: the command's main process and whatever became a child of the subreaper.
type tree struct {
	main child
	// lookAfter is how long kill waits before it looks for descendants.
	lookAfter time.Duration
	// mainEnded is closed when the main process has been reaped; mainStatus is valid from then on.
	mainEnded  chan struct{}
	mainStatus syscall.WaitStatus
	// empty is closed when there is no child left. No child means no descendant, since this process is the subreaper.
	empty chan struct{}
	// reaped has something in it when a process was reaped since it was last read.
	reaped chan struct{}

	mu         sync.Mutex
	mainReaped bool
}

// Reading the whole process table costs more than a command, so kill waits before it does. Mostly what it killed at once was
// all, and takes a moment to end. A sandbox takes longer, since its namespaces end with it; but nothing outlives its program,
// unless that was killed while it set up.
const (
	lookSoon        = 5 * time.Millisecond
	lookAtSandboxes = 500 * time.Millisecond
)

// watch begins to reap. Nothing else in this process may wait for a child.
func watch(main child, lookAfter time.Duration) *tree {
	t := &tree{
		main: main, lookAfter: lookAfter, mainEnded: make(chan struct{}), empty: make(chan struct{}), reaped: make(chan struct{}, 1),
	}
	go t.reap()
	return t
}

// reap waits for a child to end without reaping it, and reaps under the lock: so whoever holds the lock knows whether
// the main process's pid, and the group of that number, still belong to it.
func (t *tree) reap() {
	defer close(t.empty)
	for {
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return // ECHILD
		}
		t.mu.Lock()
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == nil && pid == t.main.pid && !t.mainReaped {
			t.mainReaped = true
			t.mainStatus = status
			close(t.mainEnded)
		}
		t.mu.Unlock()
		select {
		case t.reaped <- struct{}{}:
		default:
		}
	}
}

// terminate asks the main process to end.
func (t *tree) terminate() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.mainReaped {
		// It may have ended by itself; there is nothing to do about any other error.
		_ = unix.Kill(t.main.pid, unix.SIGTERM)
	}
}

// kill ends the main process, its group and all descendants, and returns how many live on.
func (t *tree) kill() (leftovers int) {
	t.mu.Lock()
	if !t.mainReaped {
		_ = unix.Kill(-t.main.pid, unix.SIGKILL)
		_ = unix.Kill(t.main.pid, unix.SIGKILL)
	}
	t.mu.Unlock()
	limit := time.NewTimer(killLimit)
	defer limit.Stop()
	look := time.NewTimer(t.lookAfter)
	defer look.Stop()
	select {
	case <-t.empty:
		return 0
	case <-look.C:
	}
	for {
		select {
		case <-t.empty:
			return 0
		default:
		}
		// A process may fork between the look and the signal, so this is repeated until the kernel says there is no child.
		alive, err := proc.Descendants(os.Getpid())
		for _, p := range alive {
			_ = proc.Signal(p.PID, p.StartTime, unix.SIGKILL)
		}
		again := time.NewTimer(5 * time.Millisecond)
		select {
		case <-t.empty:
			return 0
		case <-t.reaped:
		case <-again.C:
		case <-limit.C:
			again.Stop()
			if err != nil || len(alive) == 0 {
				return 1 // the table cannot be read, or lags behind: there is at least one child
			}
			return len(alive)
		}
		again.Stop()
	}
}
