package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/tenure-dev/tenure/drivers"
)

// Reader reads a journal, also while another process writes it. It holds one frame in memory, at most 256 KiB. It is not safe for
// concurrent use.
type Reader struct {
	dir    string
	from   int64 // nothing before it is delivered
	offset int64 // of the next frame
	seg    segment
	f      *os.File // nil before the first segment exists
	pos    int64    // in f, of buf[lo]
	buf    []byte   // buf[lo:hi] is read and not yet delivered
	lo, hi int
	frame  int // length at lo of the frame that the caller holds
	seal   sealRecord
	sealed bool
}

// firstBuffer holds what one read of a pipe gives; longer frames make it grow.
const firstBuffer = headerSize + 64*1024

// Open begins at offset, which may lie ahead of what there is. A journal that does not exist yet is [fs.ErrNotExist].
func Open(dir string, offset int64) (*Reader, error) {
	if offset < 0 {
		return nil, fmt.Errorf("open journal: offset %d is negative", offset)
	}
	segs, err := segments(dir)
	if err != nil {
		return nil, err
	}
	r := &Reader{dir: dir, from: offset, buf: make([]byte, firstBuffer)}
	if len(segs) == 0 {
		return r, nil
	}
	first := segs[segmentAt(segs, offset)]
	if r.f, err = os.Open(first.path(dir)); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	r.seg, r.offset = first, first.first
	return r, nil
}

// Close closes the reader.
func (r *Reader) Close() error {
	if r.f == nil {
		return nil
	}
	return r.f.Close()
}

// Next returns the next frame. [io.EOF] is the end of what there is; unless the journal is sealed, more may follow and
// Next may be called again. The first frame begins exactly at the offset asked for, in the middle of a frame if need be.
func (r *Reader) Next() (Frame, error) {
	for {
		f, err := r.next()
		if err != nil {
			return Frame{}, err
		}
		r.offset = f.Offset + int64(len(f.Data))
		if f.Offset >= r.from {
			return f, nil
		}
		if r.offset <= r.from {
			continue
		}
		f.Data = f.Data[r.from-f.Offset:]
		f.Offset = r.from
		return f, nil
	}
}

// Follow is Next that waits for more: [io.EOF] is the end of a sealed journal. It ends early with the cause of ctx.
func (r *Reader) Follow(ctx context.Context) (Frame, error) {
	const shortest, longest = 10 * time.Millisecond, 100 * time.Millisecond
	for wait := shortest; ; wait = min(2*wait, longest) {
		f, err := r.Next()
		if !errors.Is(err, io.EOF) || r.sealed {
			return f, err
		}
		// Polling, because the writer is another process and inotify would cost a limited kernel resource per reader.
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return Frame{}, context.Cause(ctx)
		case <-timer.C:
		}
	}
}

// Seal says how the output ended; false while it has not.
func (r *Reader) Seal() (drivers.OutputSeal, bool, error) { return ReadSeal(r.dir) }

// Offset is that of the next byte.
func (r *Reader) Offset() int64 { return max(r.offset, r.from) }

// next decodes the frame at r.pos.
func (r *Reader) next() (Frame, error) {
	moved := false // a successor was seen, and the segment read once more after that
	for {
		f, err := r.decode()
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, errShort) && !errors.Is(err, errBad) {
			return Frame{}, err
		}
		// What is here is no whole frame: it may be half written, or be cut off and replaced. Forget it and find out
		// whether anything can still come. Whatever is found, the segment is read once more, because the writer may have
		// appended between the read and the look around.
		r.forget()
		if !r.sealed {
			if r.seal, r.sealed, err = readSeal(r.dir); err != nil {
				return Frame{}, err
			}
			if r.sealed {
				continue
			}
		}
		next, err := r.successor()
		if err != nil {
			return Frame{}, err
		}
		switch {
		case next == nil:
			return Frame{}, r.atEnd()
		case r.f != nil && !moved:
			moved = true
			if err := next.Close(); err != nil {
				return Frame{}, fmt.Errorf("read journal: %w", err)
			}
		default:
			moved = false
			r.enter(next)
		}
	}
}

// atEnd is the answer where neither a frame nor a segment follows.
func (r *Reader) atEnd() error {
	if r.sealed && r.offset < r.seal.End {
		return fmt.Errorf("read journal %s at offset %d of %d: %w", r.dir, r.offset, r.seal.End, ErrCorrupt)
	}
	return io.EOF
}

// successor opens the segment that continues at the present offset; nil if there is none.
func (r *Reader) successor() (*os.File, error) {
	f, err := os.Open(segment{ordinal: r.seg.ordinal + 1, first: r.offset}.path(r.dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return f, nil
}

func (r *Reader) enter(f *os.File) {
	if r.f != nil {
		_ = r.f.Close() // read only
	}
	r.seg = segment{ordinal: r.seg.ordinal + 1, first: r.offset}
	r.f, r.pos = f, 0
	r.forget()
}

// decode drops the frame that the caller had and decodes the one after it, reading as needed.
func (r *Reader) decode() (Frame, error) {
	if r.f == nil {
		return Frame{}, errShort
	}
	r.lo += r.frame
	r.pos += int64(r.frame)
	r.frame = 0
	for {
		f, n, err := decodeFrame(r.buf[r.lo:r.hi])
		if err == nil {
			if f.Offset != r.offset {
				return Frame{}, errBad
			}
			r.frame = n
			return f, nil
		}
		if !errors.Is(err, errShort) {
			return Frame{}, err
		}
		if n, err := r.fill(); err != nil {
			return Frame{}, err
		} else if n == 0 {
			return Frame{}, errShort
		}
	}
}

// fill reads more of the segment behind what is in buf.
func (r *Reader) fill() (int, error) {
	r.hi = copy(r.buf, r.buf[r.lo:r.hi])
	r.lo = 0
	if r.hi == len(r.buf) {
		// A whole buffer is no frame yet, so it is a long one; decodeFrame bounds how long.
		grown := make([]byte, min(4*len(r.buf), maxFrameSize))
		copy(grown, r.buf)
		r.buf = grown
	}
	n, err := r.f.ReadAt(r.buf[r.hi:], r.pos+int64(r.hi))
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read journal: %w", err)
	}
	r.hi += n
	return n, nil
}

func (r *Reader) forget() { r.lo, r.hi, r.frame = 0, 0, 0 }
