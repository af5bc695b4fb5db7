package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// process is what the kernel says of one.
type process struct {
	pid, parent int
	state       byte
	// name is the program's, which outlives it; command is how it was called.
	name, command string
}

// becomeSubreaper makes every process that loses its parent below us our child, so that none can stay behind unseen.
func becomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the subreaper of what is started: %w", err)
	}
	return nil
}

// processes are all that there are.
func processes() ([]process, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var all []process
	for _, dir := range dirs {
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue // it has ended
		}
		// The name, in brackets, may have anything in it.
		rest := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(rest) < 2 {
			continue
		}
		p := process{state: rest[0][0], name: string(stat[bytes.IndexByte(stat, '(')+1 : bytes.LastIndexByte(stat, ')')])}
		p.pid, _ = strconv.Atoi(filepath.Base(dir))
		p.parent, _ = strconv.Atoi(rest[1])
		command, _ := os.ReadFile(dir + "/cmdline")
		p.command = strings.TrimSpace(string(bytes.ReplaceAll(command, []byte{0}, []byte{' '})))
		all = append(all, p)
	}
	return all, nil
}

// below are the descendants of a process.
func below(pid int) ([]process, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	children := map[int][]process{}
	for _, p := range all {
		children[p.parent] = append(children[p.parent], p)
	}
	var found []process
	for next := children[pid]; len(next) > 0; {
		p := next[0]
		next = append(next[1:], children[p.pid]...)
		found = append(found, p)
	}
	return found, nil
}

// endStrays ends all that is left below us, and says what that was. What we started ourselves was ended before.
func endStrays() (left []string, err error) {
	for range 20 {
		found, err := below(os.Getpid())
		if err != nil || len(found) == 0 {
			return left, err
		}
		for _, p := range found {
			if p.state != 'Z' {
				left = append(left, fmt.Sprintf("%d %s", p.pid, p.command))
				if err := unix.Kill(p.pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
					return left, err
				}
			}
			if p.parent == os.Getpid() {
				_, _ = unix.Wait4(p.pid, nil, 0, nil) // it may be somebody else's to wait for
			}
		}
	}
	return left, errors.New("what is left cannot be ended")
}

// children are the processes that we started and wait for.
type children struct {
	mu  sync.Mutex
	own map[int]bool
}

// start starts one; wait returns when it has ended.
func (c *children) start(cmd *exec.Cmd) (wait func() error, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if c.own == nil {
		c.own = map[int]bool{}
	}
	c.own[cmd.Process.Pid] = true
	return func() error {
		err := cmd.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.own, cmd.Process.Pid)
		return err
	}, nil
}

// waitedFor are programs that pgcluster runs, and waits for itself.
var waitedFor = []string{"pg_ctl", "initdb", "pg_basebackup", "cp"}

// bury takes note of the end of orphans that became our children.
func (c *children) bury() {
	found, err := processes()
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range found {
		if p.parent == os.Getpid() && p.state == 'Z' && !c.own[p.pid] && !slices.Contains(waitedFor, p.name) {
			_, _ = unix.Wait4(p.pid, nil, unix.WNOHANG, nil)
		}
	}
}
