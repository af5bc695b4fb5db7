// Package atomicfile writes small files that a reader sees whole or not at all.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Write makes path hold data. A crash leaves the old content or the new one, and perhaps a file named path + ".tmp".
func Write(path string, data []byte, perm fs.FileMode) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, werr := f.Write(data)
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// Reserved is a file whose blocks are taken before its content is known, so that a disk that fills up meanwhile cannot
// prevent the one record that says so. Until Commit it is named path + ".tmp".
type Reserved struct {
	path string
	f    *os.File
}

// Reserve takes size bytes for path. It fails with [fs.ErrExist] if a reservation or the file itself is there already.
func Reserve(path string, size int, perm fs.FileMode) (*Reserved, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("reserve %s: %w", path, fs.ErrExist)
	}
	f, err := os.OpenFile(path+".tmp", os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return nil, fmt.Errorf("reserve %s: %w", path, err)
	}
	r := &Reserved{path: path, f: f}
	// Real zeros, not fallocate: they are honoured by every file system and writing over them needs no new block.
	if _, err := f.Write(make([]byte, size)); err != nil {
		return nil, errors.Join(fmt.Errorf("reserve %s: %w", path, err), r.Discard())
	}
	return r, nil
}

// Reopen takes over the reservation that another process left behind.
func Reopen(path string) (*Reserved, error) {
	f, err := os.OpenFile(path+".tmp", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("reopen reservation of %s: %w", path, err)
	}
	return &Reserved{path: path, f: f}, nil
}

// File is the open file, for locks.
func (r *Reserved) File() *os.File { return r.f }

// Commit gives the file its content and its name and closes it.
func (r *Reserved) Commit(data []byte) error {
	_, werr := r.f.WriteAt(data, 0)
	if werr == nil {
		werr = r.f.Truncate(int64(len(data)))
	}
	if werr == nil {
		werr = os.Rename(r.path+".tmp", r.path)
	}
	if err := errors.Join(werr, r.f.Close()); err != nil {
		return fmt.Errorf("commit %s: %w", r.path, err)
	}
	return nil
}

// Close gives up without removing the reservation.
func (r *Reserved) Close() error { return r.f.Close() }

// Discard closes and removes the reservation.
func (r *Reserved) Discard() error { return errors.Join(r.f.Close(), os.Remove(r.path+".tmp")) }
