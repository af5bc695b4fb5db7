package journal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"time"
)

// A frame on disk, big-endian:
//
//	0  uint32  CRC-32C of everything after it
//	4  uint32  length of the data
//	8  uint8   layout, 1
//	9  uint8   kind: 1 data, 2 gap (the data is a uint64, the bytes dropped)
//	10 uint8   stream
//	11 uint8   0
//	12 int64   offset
//	20 int64   time, nanoseconds since 1970
//	28         data
const (
	headerSize   = 28
	maxFrameSize = headerSize + MaxData
	layout       = 1
	kindData     = 1
	kindGap      = 2
)

var (
	// errShort: the bytes at hand are a possible beginning of a frame.
	errShort = errors.New("incomplete frame")
	// errBad: no bytes that follow could make this a frame.
	errBad = errors.New("no frame")
)

// checksum makes the polynomial's table at its first call. That takes a fifth of a millisecond, which the many processes that
// only link this package are spared.
func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// appendFrame encodes f behind b.
func appendFrame(b []byte, f Frame) []byte {
	start := len(b)
	kind, data := byte(kindData), f.Data
	if f.Dropped > 0 {
		kind, data = kindGap, binary.BigEndian.AppendUint64(nil, uint64(f.Dropped))
	}
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	b = append(b, layout, kind, byte(f.Stream), 0)
	b = binary.BigEndian.AppendUint64(b, uint64(f.Offset))
	b = binary.BigEndian.AppendUint64(b, uint64(f.At.UnixNano()))
	b = append(b, data...)
	binary.BigEndian.PutUint32(b[start:], checksum(b[start+4:]))
	return b
}

// decodeFrame decodes the frame at the beginning of b and returns its length there. The frame's data is part of b.
func decodeFrame(b []byte) (Frame, int, error) {
	if len(b) < headerSize {
		return Frame{}, 0, errShort
	}
	length := binary.BigEndian.Uint32(b[4:])
	kind, stream := b[9], Stream(b[10])
	offset := binary.BigEndian.Uint64(b[12:])
	known := b[8] == layout && (kind == kindData || kind == kindGap) && (stream == Stdout || stream == Stderr) && b[11] == 0
	if !known || length == 0 || length > MaxData || offset > math.MaxInt64-MaxData || kind == kindGap && length != 8 {
		return Frame{}, 0, errBad
	}
	size := headerSize + int(length)
	if len(b) < size {
		return Frame{}, 0, errShort
	}
	if checksum(b[4:size]) != binary.BigEndian.Uint32(b) {
		return Frame{}, 0, errBad
	}
	f := Frame{Stream: stream, Offset: int64(offset), At: time.Unix(0, int64(binary.BigEndian.Uint64(b[20:]))).UTC()}
	if kind == kindData {
		f.Data = b[headerSize:size:size]
		return f, size, nil
	}
	dropped := binary.BigEndian.Uint64(b[headerSize:])
	if dropped == 0 || dropped > math.MaxInt64 {
		return Frame{}, 0, errBad
	}
	f.Dropped = int64(dropped)
	return f, size, nil
}
