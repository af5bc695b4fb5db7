// Package journal keeps the output of one command: append-only, written by one process, read by any number of others
// while it grows.
//
// A journal is a directory:
//
//	00000001-00000000000000000000.seg   frames, oldest first
//	00000002-00000000000008388608.seg   the second number is the offset of the segment's first byte
//	seal.json.tmp                       while the writer lives: its lock and the space reserved for the seal
//	seal.json                           how the output ended; from then on nothing changes
//
// Each frame holds bytes of one stream, the time they were read and their offset, under a checksum. Offsets count the
// journaled bytes of both streams in journal order, so they have no holes and a reader may start at any of them: the name
// of a segment says where it begins, and what came before is not read.
//
// The writer never fails and never waits for anybody but the disk. What the disk refuses is dropped: it has no offset, a
// gap frame says how much is missing and where, and the seal counts it. Bytes and hashes in the seal cover everything
// that came from the command, dropped or not. A reader stops at a frame that is incomplete or does not match its
// checksum: before the seal that is the end so far, after it the journal is damaged ([ErrCorrupt]).
//
// Nothing is flushed to the disk on purpose: a journal survives the death of every process. After a loss of power its
// end may be missing; the seal holds the final offset, so that is noticed and never taken for a short output.
package journal

import (
	"errors"
	"time"
)

// ErrCorrupt says that a sealed journal does not hold what its seal promises.
var ErrCorrupt = errors.New("the output journal is damaged")

// ErrBusy says that the writer of a journal still lives.
var ErrBusy = errors.New("the output journal is still being written")

// Stream is one of the two outputs of a command.
type Stream uint8

// The streams.
const (
	Stdout Stream = 1
	Stderr Stream = 2
)

func (s Stream) String() string {
	switch s {
	case Stdout:
		return "stdout"
	case Stderr:
		return "stderr"
	default:
		return "unknown"
	}
}

// Frame is one piece of output.
type Frame struct {
	Stream Stream
	// At is when the bytes were read from the command.
	At time.Time
	// Offset is that of Data[0].
	Offset int64
	// Data is valid until the next call of the reader. It is empty in a gap.
	Data []byte
	// Dropped, in a gap, counts the bytes of Stream that are missing here.
	Dropped int64
}

// MaxData is the most that one frame holds.
const MaxData = 256 * 1024
