package journal

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/internal/atomicfile"
)

// Recover seals the journal of a writer that died, with state lost and what the journal holds, so that nobody follows it
// for ever. A sealed journal keeps its seal, which is returned. While the writer lives it fails with [ErrBusy].
func Recover(dir string) (drivers.OutputSeal, error) {
	if s, ok, err := readSeal(dir); ok || err != nil {
		return s.Output, err
	}
	reserved, err := atomicfile.Reopen(sealPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		// Sealed a moment ago, or never begun: in an existing directory that is the journal of nothing.
		if s, ok, serr := readSeal(dir); ok || serr != nil {
			return s.Output, serr
		}
		reserved, err = atomicfile.Reserve(sealPath(dir), sealSpace, 0o600)
	}
	if err != nil {
		return drivers.OutputSeal{}, fmt.Errorf("recover journal: %w", err)
	}
	if err := unix.Flock(int(reserved.File().Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrBusy
		}
		return drivers.OutputSeal{}, errors.Join(fmt.Errorf("recover journal %s: %w", dir, err), reserved.Close())
	}
	// The writer renames before it unlocks, so the lock may have been won on a journal that is sealed by now.
	if s, ok, err := readSeal(dir); ok || err != nil {
		return s.Output, errors.Join(err, reserved.Close())
	}
	record, err := survey(dir)
	if err != nil {
		return drivers.OutputSeal{}, errors.Join(err, reserved.Close())
	}
	return record.Output, commitSeal(reserved, record)
}

// survey reads the whole frames of an unsealed journal and makes the seal that fits them.
func survey(dir string) (sealRecord, error) {
	r, err := Open(dir, 0)
	if err != nil {
		return sealRecord{}, err
	}
	defer r.Close()
	var streams [2]tally
	for i := range streams {
		streams[i].sum = sha256.New()
	}
	var dropped int64
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return sealRecord{}, err
		}
		t := &streams[f.Stream-1]
		t.bytes += int64(len(f.Data))
		t.sum.Write(f.Data)
		dropped += f.Dropped
	}
	return sealRecord{End: r.offset, Output: drivers.OutputSeal{
		State: drivers.OutputLost, Stdout: streams[0].seal(), Stderr: streams[1].seal(), Dropped: dropped,
	}}, nil
}
