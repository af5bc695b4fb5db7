package embedded

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// serverLog is the file that takes everything the server prints. The server writes in append mode, so cutting the file under it
// is safe.
type serverLog struct {
	path  string
	limit int64
}

func newServerLog(dataDir string, limit int64) serverLog {
	return serverLog{path: filepath.Join(dataDir, "postgres.log"), limit: limit}
}

// open gives the file to a server that is about to start, after moving a full one aside.
func (l serverLog) open() (*os.File, error) {
	if info, err := os.Lstat(l.path); err == nil && info.Size() > l.limit {
		if err := os.Rename(l.path, l.path+".1"); err != nil {
			return nil, fmt.Errorf("rotate %s: %w", l.path, err)
		}
	}
	return os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
}

// trim cuts the file of a running server back to nothing when it is full.
func (l serverLog) trim() error {
	info, err := os.Lstat(l.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() <= l.limit {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Truncate(l.path, 0)
}

// since is why the server gave up, as far as it said so after the file had size from.
func (l serverLog) since(from int64) string {
	f, err := os.Open(l.path)
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // only read
	text, _ := io.ReadAll(io.NewSectionReader(f, from, 64<<10))
	return lastReason(string(text))
}
