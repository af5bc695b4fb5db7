package protocol

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// DefaultMaxLine is the longest line, as in Paperclip's own host.
const DefaultMaxLine = 128 << 20

// LineError says that a line is longer than the limit.
type LineError struct{ Limit int }

func (e *LineError) Error() string {
	return fmt.Sprintf("a line is longer than %d bytes, the most that the protocol allows", e.Limit)
}

// lineReader splits its input at '\n' and nowhere else. It keeps at most limit bytes of a line plus one buffer.
type lineReader struct {
	r     *bufio.Reader
	limit int
	buf   []byte
}

func newLineReader(r io.Reader, limit int) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10), limit: limit}
}

// next returns the next line without its end; it is valid until the next call. At the end of the input it returns what is
// left, which is a line without an end, together with the error.
func (l *lineReader) next() ([]byte, error) {
	if cap(l.buf) > 1<<20 {
		l.buf = nil // one large line must not hold its memory for ever
	}
	l.buf = l.buf[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		end := err == nil
		if end {
			part = part[:len(part)-1]
		}
		if len(l.buf)+len(part) > l.limit {
			l.buf = nil
			return nil, &LineError{Limit: l.limit}
		}
		switch {
		case end && len(l.buf) == 0:
			return bytes.TrimSuffix(part, []byte("\r")), nil
		case end:
			l.buf = append(l.buf, part...)
			return bytes.TrimSuffix(l.buf, []byte("\r")), nil
		}
		l.buf = append(l.buf, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return l.buf, err
		}
	}
}
