package main

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// syncsPerSecond is how often the disk takes a page of a log: written over in place, as Postgres writes its own.
func syncsPerSecond(dir string, length time.Duration) (rate float64, err error) {
	const pages = 256
	file, err := os.CreateTemp(dir, "sync-*")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	page := make([]byte, 8192)
	for range pages {
		if _, err := file.Write(page); err != nil {
			return 0, err
		}
	}
	if err := file.Sync(); err != nil {
		return 0, err
	}
	began, n := time.Now(), 0
	for ; time.Since(began) < length; n++ {
		if _, err := file.WriteAt(page, int64(n%pages)*int64(len(page))); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(file.Fd())); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(began).Seconds(), nil
}
