package journal

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/internal/atomicfile"
)

// Options of a writer. The zero value is complete.
type Options struct {
	// SegmentBytes is the size at which a new segment is begun; 0 is 8 MiB.
	SegmentBytes int64
	// Now is the clock of the frames; nil is time.Now.
	Now func() time.Time
	// open makes a segment; tests put a full disk here.
	open func(path string) (file, error)
}

// file is what the writer needs of a segment.
type file interface {
	Write(p []byte) (int, error)
	Truncate(size int64) error
	Close() error
}

// Writer appends to a journal. It is safe for concurrent use.
type Writer struct {
	dir  string
	opts Options

	mu      sync.Mutex
	seal    *atomicfile.Reserved
	sealed  bool
	seg     segment
	f       file
	size    int64 // of f, up to the last whole frame
	end     int64 // the next offset
	streams [2]tally
	buf     []byte
	err     error
}

// tally is what the seal will say of one stream.
type tally struct {
	bytes int64
	sum   hash.Hash
	// gap counts dropped bytes that no gap frame mentions yet; dropped counts all.
	gap, dropped int64
}

// Create makes dir and the journal in it. It fails with [fs.ErrExist] if dir has a journal already.
func Create(dir string, opts Options) (*Writer, error) {
	if opts.SegmentBytes <= 0 {
		opts.SegmentBytes = 8 << 20
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.open == nil {
		opts.open = openSegment
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	seal, err := atomicfile.Reserve(sealPath(dir), sealSpace, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	if err := unix.Flock(int(seal.File().Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock journal %s: %w", dir, err), seal.Close())
	}
	w := &Writer{dir: dir, opts: opts, seal: seal}
	for i := range w.streams {
		w.streams[i].sum = sha256.New()
	}
	return w, nil
}

func openSegment(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
}

// Append journals data, or drops and counts it. After Seal it does nothing.
func (w *Writer) Append(s Stream, data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sealed || s != Stdout && s != Stderr {
		return
	}
	t := &w.streams[s-1]
	t.bytes += int64(len(data))
	t.sum.Write(data)
	for len(data) > 0 {
		n := min(len(data), MaxData)
		if err := w.journal(s, data[:n]); err != nil {
			t.gap += int64(n)
			t.dropped += int64(n)
			if w.err == nil {
				w.err = err
			}
		}
		data = data[n:]
	}
}

// Drop counts n bytes of a stream that are missing here and that the writer never saw. Who calls it seals with
// [Writer.SealAs], since only somebody else can know the hash of those bytes.
func (w *Writer) Drop(s Stream, n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sealed || n <= 0 || s != Stdout && s != Stderr {
		return
	}
	t := &w.streams[s-1]
	t.bytes += n
	t.gap += n
	t.dropped += n
}

// journal writes the gaps that are due and then data, all in frames.
func (w *Writer) journal(s Stream, data []byte) error {
	if err := w.writeGaps(); err != nil {
		return err
	}
	if err := w.write(Frame{Stream: s, At: w.opts.Now(), Offset: w.end, Data: data}); err != nil {
		return err
	}
	w.end += int64(len(data))
	return nil
}

func (w *Writer) writeGaps() error {
	for i := range w.streams {
		t := &w.streams[i]
		if t.gap == 0 {
			continue
		}
		if err := w.write(Frame{Stream: Stream(i + 1), At: w.opts.Now(), Offset: w.end, Dropped: t.gap}); err != nil {
			return err
		}
		t.gap = 0
	}
	return nil
}

// write puts one whole frame on the disk or leaves no trace of it.
func (w *Writer) write(f Frame) error {
	if w.f != nil && w.size >= w.opts.SegmentBytes {
		w.closeSegment()
	}
	if w.f == nil {
		next := segment{ordinal: w.seg.ordinal + 1, first: w.end}
		opened, err := w.opts.open(next.path(w.dir))
		if err != nil {
			return err
		}
		w.seg, w.f, w.size = next, opened, 0
	}
	w.buf = appendFrame(w.buf[:0], f)
	_, err := w.f.Write(w.buf)
	if err == nil {
		w.size += int64(len(w.buf))
		return nil
	}
	// Cut off the part that was written. If even that fails, readers skip the torn end of a segment that has a successor.
	if terr := w.f.Truncate(w.size); terr != nil {
		w.closeSegment()
	}
	return err
}

func (w *Writer) closeSegment() {
	// Every frame is already with the kernel or counted as dropped, so an error of close has nothing to add.
	_ = w.f.Close()
	w.f = nil
}

// Err is the first reason why bytes were dropped.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Seal closes the journal with state, or with truncated where a complete one has dropped bytes.
func (w *Writer) Seal(state drivers.OutputState) (drivers.OutputSeal, error) {
	return w.close(state, func(*drivers.OutputSeal) {})
}

// SealAs is Seal for one who only passes on the output: the counts and hashes are those of whoever read the command. What
// arrived here and what read says must fit together, else the output is lost.
func (w *Writer) SealAs(read drivers.OutputSeal) (drivers.OutputSeal, error) {
	return w.close(read.State, func(s *drivers.OutputSeal) {
		for i, theirs := range []drivers.StreamSeal{read.Stdout, read.Stderr} {
			ours, dropped := s.Stdout, w.streams[i].dropped
			if i == 1 {
				ours = s.Stderr
			}
			if ours.Bytes != theirs.Bytes || dropped == 0 && ours.SHA256 != theirs.SHA256 {
				s.State = drivers.OutputLost
				return
			}
		}
		s.Stdout, s.Stderr = read.Stdout, read.Stderr
	})
}

func (w *Writer) close(state drivers.OutputState, amend func(*drivers.OutputSeal)) (drivers.OutputSeal, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sealed {
		return drivers.OutputSeal{}, errors.New("seal journal: it is sealed already")
	}
	w.sealed = true
	_ = w.writeGaps() // on a full disk the seal alone tells of the last gap
	if w.f != nil {
		w.closeSegment()
	}
	record := sealRecord{End: w.end, Output: drivers.OutputSeal{
		State:  state,
		Stdout: w.streams[0].seal(),
		Stderr: w.streams[1].seal(),
	}}
	record.Output.Dropped = w.streams[0].dropped + w.streams[1].dropped
	if record.Output.Dropped > 0 && state == drivers.OutputComplete {
		record.Output.State = drivers.OutputTruncated
	}
	amend(&record.Output)
	return record.Output, commitSeal(w.seal, record)
}

func (t *tally) seal() drivers.StreamSeal {
	return drivers.StreamSeal{Bytes: t.bytes, SHA256: hex.EncodeToString(t.sum.Sum(nil))}
}

func commitSeal(r *atomicfile.Reserved, record sealRecord) error {
	b, err := json.Marshal(record)
	if err != nil {
		return errors.Join(fmt.Errorf("seal journal: %w", err), r.Close())
	}
	if err := r.Commit(b); err != nil {
		return fmt.Errorf("seal journal: %w", err)
	}
	return nil
}
