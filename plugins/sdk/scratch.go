package sdk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// scratch is the directory of a worker's output journals. It goes with the worker; what a killed one left is removed by
// the next.
type scratch struct {
	dir   string
	lock  *os.File
	execs atomic.Int64
}

const scratchPrefix = "tenure-worker-"

func openScratch(root string) (*scratch, error) {
	sweepScratch(root)
	for range 10 {
		s, err := tryScratch(root)
		if err != nil {
			return nil, fmt.Errorf("make a directory for output journals: %w", err)
		}
		if s != nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("make a directory for output journals: it keeps vanishing from %s", root)
}

// tryScratch returns nil if a sweep came between the making of the lock and the taking of it.
func tryScratch(root string) (*scratch, error) {
	dir, err := os.MkdirTemp(root, scratchPrefix)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "lock")
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	locked := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if _, err := os.Lstat(path); locked != nil || err != nil {
		return nil, errors.Join(lock.Close(), os.RemoveAll(dir))
	}
	return &scratch{dir: dir, lock: lock}, nil
}

// journal is a directory that does not exist yet, and that nobody else will be given.
func (s *scratch) journal() string {
	return filepath.Join(s.dir, "exec-"+strconv.FormatInt(s.execs.Add(1), 10))
}

func (s *scratch) remove() error { return errors.Join(os.RemoveAll(s.dir), s.lock.Close()) }

// sweepScratch removes the directories whose worker is gone: nobody holds their lock. What cannot be removed, because it
// is another user's, stays.
func sweepScratch(root string) {
	dirs, err := filepath.Glob(filepath.Join(root, scratchPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		if info, err := os.Lstat(dir); err != nil || !info.IsDir() || ownerOf(info) != os.Geteuid() {
			continue // anybody may put such a name into a shared directory
		}
		// Only what is locked by name is ours: a directory that is being made has no lock yet and is left alone.
		lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.RemoveAll(dir)
		}
		_ = lock.Close()
	}
}

func ownerOf(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return -1
}
