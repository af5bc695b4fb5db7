package main

import (
	"bytes"
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

// clear takes everything down and answers with what should not have been there.
func (s *stage) clear() error {
	var problems []error
	if err := s.stopServer(); err != nil {
		problems = append(problems, err)
	}
	if err := s.takeDown(); err != nil {
		problems = append(problems, err)
	}
	if left := s.survivors(); len(left) > 0 {
		for _, p := range left {
			problems = append(problems, fmt.Errorf("process %d was left behind: %s", p.pid, p.line))
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		s.survivors()
	}
	if err := os.RemoveAll(s.dir); err != nil {
		problems = append(problems, fmt.Errorf("remove the temporary directory: %w", err))
	}
	if _, err := os.Lstat(s.dir); !errors.Is(err, fs.ErrNotExist) {
		problems = append(problems, fmt.Errorf("%s is still there", s.dir))
	}
	return errors.Join(problems...)
}

type process struct {
	pid  int
	line string
}

// survivorGrace is how long a process that is about to end has to be gone.
const survivorGrace = 20 * time.Second

// survivors waits for the stage's processes to be gone and returns those that are not.
func (s *stage) survivors() []process {
	deadline := time.NewTimer(survivorGrace)
	defer deadline.Stop()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		// Orphans are children of this process; a dead one is only a name.
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
		left := s.processes()
		if len(left) == 0 {
			return nil
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			return left
		}
	}
}

// processes are those that are children of this one, or have the stage's directory in their command line, or work, or have
// their program, in it.
func (s *stage) processes() []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if line, ours := s.isOurs(filepath.Join("/proc", e.Name())); ours {
			found = append(found, process{pid, line})
		}
	}
	return found
}

func (s *stage) isOurs(proc string) (line string, ours bool) {
	raw, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	if err != nil {
		return "", false
	}
	line = strings.TrimSpace(string(bytes.ReplaceAll(raw, []byte{0}, []byte{' '})))
	ours = strings.Contains(line, s.dir) || parentOf(proc) == os.Getpid()
	for _, link := range []string{"cwd", "exe", "root"} {
		target, err := os.Readlink(filepath.Join(proc, link))
		ours = ours || err == nil && (target == s.dir || strings.HasPrefix(target, s.dir+"/"))
	}
	return line, ours
}

// parentOf reads the parent's pid, the second field after the name, which may itself hold brackets and blanks.
func parentOf(proc string) int {
	stat, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return 0
	}
	pid, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return pid
}
