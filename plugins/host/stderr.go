package host

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
)

const (
	// stderrKept is how much of the end of a worker's stderr is kept.
	stderrKept = 8000
	// stderrLine is the longest line of it; the rest of a longer one is dropped.
	stderrLine = 64 << 10
)

// excerpt reads a worker's stderr, always and to its end, and keeps the end of it without secrets.
type excerpt struct {
	secrets *secrets
	// done is closed when all has been read.
	done chan struct{}

	mu   sync.Mutex
	from io.Closer
	kept []byte
}

func newExcerpt(s *secrets) *excerpt { return &excerpt{secrets: s, done: make(chan struct{})} }

func (e *excerpt) read(from *os.File, news *news) {
	defer close(e.done)
	e.mu.Lock()
	e.from = from
	e.mu.Unlock()
	defer e.stop()
	buf := make([]byte, 32<<10)
	var line []byte
	flush := func() {
		text := e.secrets.quote(strings.TrimRight(string(line), "\r"), stderrLine)
		line = line[:0]
		e.keep(text)
		news.stderr(text)
	}
	for {
		n, err := from.Read(buf)
		for rest := buf[:n]; len(rest) > 0; {
			part, after, ended := bytes.Cut(rest, []byte("\n"))
			line = append(line, part[:min(len(part), max(0, quotable-len(line)))]...)
			if ended {
				flush()
			}
			rest = after
		}
		if err != nil {
			if len(line) > 0 {
				flush()
			}
			return
		}
	}
}

// stop ends the reading; a process that got away may hold the other end for ever.
func (e *excerpt) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.from.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		e.kept = append(e.kept, []byte("(close: "+err.Error()+")\n")...)
	}
}

func (e *excerpt) keep(line string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kept = append(append(e.kept, line...), '\n')
	if over := len(e.kept) - stderrKept; over > 0 {
		e.kept = append([]byte(nil), e.kept[over:]...)
	}
}

func (e *excerpt) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.ToValidUTF8(string(e.kept), "")
}

// tail is the end of it in one line.
func (e *excerpt) tail(limit int) string {
	text := strings.Join(strings.Fields(e.text()), " ")
	if len(text) > limit {
		text = "…" + strings.ToValidUTF8(text[len(text)-limit:], "")
	}
	return text
}
