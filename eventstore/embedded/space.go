package embedded

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// roomToWrite is what a server needs to go on for certain: its log of changes grows by files of this size.
const roomToWrite = 16 << 20

// NoSpace says that the file system of a data directory is full.
func NoSpace(dir string, cause error) error {
	return &Error{
		Code: CodeNoSpace, What: fmt.Sprintf("the file system of data directory %s has no space left", dir), Cause: cause,
		Remediation: fmt.Sprintf("free space in %s (a new database takes about 80 MiB), or choose another data directory", dir),
	}
}

// OutOfSpace is not nil while the file system of the data directory has not enough room for the server to be sure that it
// can write.
func (s *Server) OutOfSpace() error {
	free, err := freeSpace(s.lock.Dir())
	if err != nil || free >= roomToWrite {
		return nil //nolint:nilerr // what cannot be told is not full
	}
	return NoSpace(s.lock.Dir(), fmt.Errorf("%d KiB are free", free>>10))
}

// freeSpace is what others than root may still write below dir, in bytes.
func freeSpace(dir string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, err
	}
	return int64(stat.Bavail) * stat.Bsize, nil //nolint:gosec,unconvert // no file system is that large; the type differs between machines
}

// isNoSpace reports whether a full file system is the reason, by the error itself or by what a program said of it.
func isNoSpace(err error) bool {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return true
	}
	return strings.Contains(err.Error(), "No space left on device") || strings.Contains(err.Error(), "Disk quota exceeded")
}
