package journal

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// segment names one file of frames.
type segment struct {
	// ordinal counts from 1. It tells apart segments of one offset: a segment that the disk spoiled before its first
	// whole frame is followed by another that begins at the same place.
	ordinal int
	first   int64
}

const suffix = ".seg"

func (s segment) path(dir string) string {
	return filepath.Join(dir, fmt.Sprintf("%08d-%020d%s", s.ordinal, s.first, suffix))
}

func parseSegment(name string) (segment, bool) {
	base, ok := strings.CutSuffix(name, suffix)
	if !ok {
		return segment{}, false
	}
	ordinal, first, ok := strings.Cut(base, "-")
	if !ok {
		return segment{}, false
	}
	n, err1 := strconv.Atoi(ordinal)
	off, err2 := strconv.ParseInt(first, 10, 64)
	return segment{ordinal: n, first: off}, err1 == nil && err2 == nil && n > 0 && off >= 0
}

// segments lists the segments of dir, oldest first.
func segments(dir string) ([]segment, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	defer d.Close() //nolint:errcheck // only read
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", dir, err)
	}
	var found []segment
	for _, name := range names {
		if s, ok := parseSegment(name); ok {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b segment) int { return cmp.Compare(a.ordinal, b.ordinal) })
	return found, nil
}

// segmentAt is the index of the segment to begin with for offset: the last one that begins at or before it.
func segmentAt(segs []segment, offset int64) int {
	i, found := slices.BinarySearchFunc(segs, offset, func(s segment, o int64) int { return cmp.Compare(s.first, o) })
	if !found && i > 0 {
		i--
	}
	return i
}
