package embedded

import (
	"errors"
	"fmt"
	"math"
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

// CheckSpace refuses a data directory whose file system has not enough room for a server to be sure that it can write.
func CheckSpace(dir string) error {
	if free := freeSpace(dir); free < roomToWrite {
		return NoSpace(dir, fmt.Errorf("%d KiB are free", free>>10))
	}
	return nil
}

// OutOfSpace is why the server may not be able to write; nil while there is room.
func (s *Server) OutOfSpace() error { return CheckSpace(s.lock.Dir()) }

// freeSpace is what others than root may still write below dir, in bytes. Where that cannot be told there is no limit.
func freeSpace(dir string) int64 {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return math.MaxInt64
	}
	return int64(stat.Bavail) * stat.Bsize //nolint:unconvert // the types differ between machines
}

// isNoSpace reports whether a full file system is the reason, by the error itself or by what a program said of it.
func isNoSpace(err error) bool {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return true
	}
	return strings.Contains(err.Error(), "No space left on device") || strings.Contains(err.Error(), "Disk quota exceeded")
}
