package embedded

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Holder is the process that has the lock of a data directory; ok is false for none. It is for who wants to send that process a
// signal, so both the kernel and the process itself must say so.
func Holder(dir string) (pid int, ok bool, err error) {
	file, err := os.Open(filepath.Join(dir, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, dataDirError(dir, err)
	}
	defer file.Close() //nolint:errcheck // only read
	text := make([]byte, 32)
	n, _ := file.ReadAt(text, 0)
	said, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil || said <= 0 || flockHolder(file) != said {
		return 0, false, nil
	}
	return said, true, nil
}
