package embedded

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const lockFile = "tenure.lock"

// DirLock is the ownership of one data directory. The kernel gives it back when the process ends, however it ends.
type DirLock struct {
	dir  string
	file *os.File
}

// Lock takes the data directory, making it if it does not exist. It does not wait: if another process holds the directory, the error
// (CodeDataDirBusy) says which. The lock file stays when the lock is given back, because removing it would let two owners in.
func Lock(dir string) (*DirLock, error) {
	dir, err := makeDataDir(dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, lockFile)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, dataDirError(dir, err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer file.Close() //nolint:errcheck // nothing was written
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, dataDirError(dir, fmt.Errorf("flock %s: %w", path, err))
		}
		return nil, &Error{
			Code: CodeDataDirBusy, What: fmt.Sprintf("data directory %s is in use by %s", dir, holder(file)),
			Remediation: "stop that process first, or choose another data directory",
		}
	}
	// The pid in the file is only for people and for file systems that /proc/locks cannot name; the flock decides.
	if err := errors.Join(file.Truncate(0), writePID(file)); err != nil {
		return nil, dataDirError(dir, errors.Join(err, file.Close()))
	}
	return &DirLock{dir: dir, file: file}, nil
}

// Dir is the locked directory, absolute and without symbolic links.
func (l *DirLock) Dir() string { return l.dir }

// Unlock gives the directory back. Closing the file would not do at once: a child that was forked meanwhile and has not begun
// its program yet has the file too.
func (l *DirLock) Unlock() error {
	return errors.Join(l.file.Truncate(0), unix.Flock(int(l.file.Fd()), unix.LOCK_UN), l.file.Close())
}

func writePID(file *os.File) error {
	_, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// holder names who has the lock. The kernel's table is the truth; the file's text may be left from a process that was killed.
func holder(file *os.File) string {
	if pid := flockHolder(file); pid > 0 {
		return fmt.Sprintf("process %d", pid)
	}
	text := make([]byte, 32)
	n, _ := file.ReadAt(text, 0)
	if pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n]))); err == nil {
		return fmt.Sprintf("process %d", pid)
	}
	return "another process"
}

func flockHolder(file *os.File) int {
	info, err := file.Stat()
	if err != nil {
		return 0
	}
	table, err := os.Open("/proc/locks")
	if err != nil {
		return 0
	}
	defer table.Close() //nolint:errcheck // only read
	inode := strconv.FormatUint(info.Sys().(*syscall.Stat_t).Ino, 10)
	for lines := bufio.NewScanner(table); lines.Scan(); {
		// 7: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF
		f := strings.Fields(lines.Text())
		if len(f) < 6 || f[1] != "FLOCK" || !strings.HasSuffix(f[5], ":"+inode) {
			continue
		}
		if pid, err := strconv.Atoi(f[4]); err == nil {
			return pid
		}
	}
	return 0
}
