package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// pollEvery is how often a condition without a signal (another program's socket, a process that is not our child) is looked at.
	pollEvery = 20 * time.Millisecond
	// watchEvery is how often an adopted server is looked at for the rest of its life.
	watchEvery = 100 * time.Millisecond
	// orphanGrace is how long a backend without its postmaster may take to leave by itself after SIGQUIT.
	orphanGrace = 5 * time.Second
)

// pidFile is what Postgres writes about its running server. It proves nothing by itself.
type pidFile struct {
	pid    int
	at     address // complete only when the server listens
	status string  // starting, ready, standby, stopping
}

// serves reports whether pid is a Postgres process of the cluster: the program, and the directory it works in.
func (c *cluster) serves(pid int) bool {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	exe, err := os.Readlink(proc + "/exe")
	if err != nil || filepath.Base(strings.TrimSuffix(exe, " (deleted)")) != "postgres" {
		return false
	}
	cwd, err := os.Stat(proc + "/cwd")
	if err != nil {
		return false
	}
	own, err := os.Stat(c.dir)
	return err == nil && os.SameFile(cwd, own)
}

// processes lists every Postgres process of the cluster. A process this one may not look into is not the cluster's: only root and
// the cluster's owner run here, and Postgres refuses a directory of somebody else.
func (c *cluster) processes() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && c.serves(pid) {
			pids = append(pids, pid)
		}
	}
	if _, err := os.Stat("/proc/self/cwd"); err != nil {
		return nil, fmt.Errorf("/proc is needed to tell a live database server from a dead one: %w", err)
	}
	return pids, nil
}

// settle finds out what runs here. It returns the live postmaster's pid, or 0 after it made sure that no process of a former server
// is left and no stale pid file is in the next one's way.
func (c *cluster) settle(ctx context.Context) (int, error) {
	pids, err := c.processes()
	if err != nil {
		return 0, err
	}
	file, err := c.readPIDFile()
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		if pid == file.pid {
			return pid, nil
		}
	}
	// Backends whose postmaster was killed hold the shared memory, and one in a long computation would not notice for long.
	if err := c.endProcesses(ctx, syscall.SIGQUIT, orphanGrace); err != nil {
		return 0, err
	}
	if err := os.Remove(c.pidPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, dataDirError(c.dir, err)
	}
	return 0, nil
}

// endProcesses signals every process of the cluster, kills what is left after grace, and returns when none is left.
func (c *cluster) endProcesses(ctx context.Context, sig syscall.Signal, grace time.Duration) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	harder := time.NewTimer(grace)
	defer harder.Stop()
	signaled := map[int]syscall.Signal{}
	for none := false; ; {
		pids, err := c.processes()
		// One look is no proof: a process that was forked during it by one that ended during it is in no list.
		if err != nil || len(pids) == 0 && none {
			return err
		}
		none = len(pids) == 0
		for _, pid := range pids {
			if signaled[pid] != sig {
				signaled[pid] = sig
				c.signal(pid, sig)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for processes %v of the former server: %w", pids, context.Cause(ctx))
		case <-harder.C:
			sig = syscall.SIGKILL
		case <-tick.C:
		}
	}
}

// signal takes hold of the process first and looks afterwards, so that a recycled pid is never hit.
func (c *cluster) signal(pid int, sig syscall.Signal) {
	p, err := os.FindProcess(pid)
	if err != nil {
		return
	}
	defer p.Release() //nolint:errcheck // it only holds a pid
	if c.serves(pid) {
		// It may be gone by now, which is what the signal is for.
		_ = p.Signal(sig)
	}
}

func (c *cluster) pidPath() string { return filepath.Join(c.dir, "postmaster.pid") }

// readPIDFile reads what is there; a file that is missing, cut short or foreign gives a zero pid.
func (c *cluster) readPIDFile() (pidFile, error) {
	f, err := os.OpenFile(c.pidPath(), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return pidFile{}, nil
	}
	if err != nil {
		return pidFile{}, dataDirError(c.dir, err)
	}
	defer f.Close() //nolint:errcheck // only read
	return parsePIDFile(bufio.NewScanner(f)), nil
}

// parsePIDFile reads, one a line: pid, data directory, start time, port, socket directory, listen address, memory key, status.
func parsePIDFile(lines *bufio.Scanner) pidFile {
	var text []string
	for len(text) < 8 && lines.Scan() {
		text = append(text, lines.Text())
	}
	var file pidFile
	if len(text) > 0 {
		// A standalone backend writes its pid negated.
		if pid, err := strconv.Atoi(text[0]); err == nil && pid > 1 {
			file.pid = pid
		}
	}
	if len(text) >= 5 {
		if port, err := strconv.Atoi(text[3]); err == nil && text[4] != "" {
			file.at = address{dir: text[4], port: port}
		}
	}
	if len(text) == 8 {
		file.status = strings.TrimSpace(text[7])
	}
	return file
}
