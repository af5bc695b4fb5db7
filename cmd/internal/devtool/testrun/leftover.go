package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How often orphans are reaped, and how often the end of leftovers is looked for.
const reapInterval = 50 * time.Millisecond

// becomeSubreaper makes every process that loses its parent below us our child, so that none can escape unseen by
// forking twice.
func becomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the reaper of orphaned processes: %w", err)
	}
	return nil
}

// reaper takes the exit status of orphans while go test runs: a zombie would look alive to a test that waits for a
// process to be gone.
type reaper struct {
	done chan struct{}
	wg   sync.WaitGroup
}

// reapOrphans reaps every child of ours but keep, whose status belongs to [os/exec.Cmd].
func reapOrphans(keep int) *reaper {
	r := &reaper{done: make(chan struct{})}
	r.wg.Go(func() {
		tick := time.NewTicker(reapInterval)
		defer tick.Stop()
		for {
			select {
			case <-r.done:
				return
			case <-tick.C:
				reap(keep, listed(os.Getpid()))
			}
		}
	})
	return r
}

func (r *reaper) stop() {
	close(r.done)
	r.wg.Wait()
}

// endLeftovers gives our children settle to go by themselves, then kills them. It returns those it had to kill.
func endLeftovers(settle time.Duration) []string {
	var killed []string
	tick := time.NewTicker(reapInterval)
	defer tick.Stop()
	patience := time.Now().Add(settle)
	giveUp := patience.Add(settle)
	for {
		alive := reap(0, all())
		now := time.Now()
		if len(alive) == 0 || now.After(giveUp) {
			return killed
		}
		if now.After(patience) {
			// Killing a parent makes its children ours, so this goes on until none is left.
			for _, c := range alive {
				if err := syscall.Kill(c.pid, syscall.SIGKILL); err == nil && !c.zombie {
					killed = append(killed, c.String())
				}
			}
		}
		<-tick.C
	}
}

// reap collects the dead among our children, which are among pids, and returns the living.
func reap(keep int, pids []string) []child {
	var alive []child
	for _, c := range children(os.Getpid(), pids) {
		if c.pid == keep {
			continue
		}
		if pid, err := syscall.Wait4(c.pid, nil, syscall.WNOHANG, nil); pid == c.pid || errors.Is(err, syscall.ECHILD) {
			continue
		}
		alive = append(alive, c)
	}
	return alive
}

// child is a process whose parent we are.
type child struct {
	pid    int
	name   string
	zombie bool
}

func (c child) String() string { return fmt.Sprintf("%d %s", c.pid, c.name) }

// children are those of some processes whose parent is parent. Only the name is kept, never the arguments: they may hold what a
// log must not.
func children(parent int, pids []string) []child {
	var found []child
	for _, pid := range pids {
		text, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		if err != nil {
			continue // It ended meanwhile.
		}
		if c, ppid, ok := parseStat(text); ok && ppid == parent {
			found = append(found, c)
		}
	}
	return found
}

// listed are the children that the kernel lists of a process. It may leave one out while another one ends, so this is for who
// looks again; reading the whole table as often is something that a busy machine notices. A kernel that has no such lists
// (CONFIG_PROC_CHILDREN) leaves no choice.
func listed(parent int) (pids []string) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*/children", parent)) // The pattern is good.
	if len(lists) == 0 {
		return all()
	}
	for _, path := range lists {
		text, _ := os.ReadFile(path) // A thread that has ended has no children.
		pids = append(pids, strings.Fields(string(text))...)
	}
	return pids
}

// all are the processes of this machine.
func all() (pids []string) {
	paths, _ := filepath.Glob("/proc/[0-9]*") // The pattern is constant and good.
	for _, path := range paths {
		pids = append(pids, filepath.Base(path))
	}
	return pids
}

// parseStat reads "pid (name) state ppid …"; the name may hold spaces and parentheses, so its end is the last one.
func parseStat(text []byte) (c child, ppid int, ok bool) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return child{}, 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:open])))
	if err != nil {
		return child{}, 0, false
	}
	rest := strings.Fields(string(text[end+1:]))
	if len(rest) < 2 {
		return child{}, 0, false
	}
	ppid, err = strconv.Atoi(rest[1])
	if err != nil {
		return child{}, 0, false
	}
	return child{pid: pid, name: string(text[open+1 : end]), zombie: rest[0] == "Z"}, ppid, true
}
