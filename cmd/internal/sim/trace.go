package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/tenure-dev/tenure/eventstore"
)

// trace is what happened, in order.
type trace struct {
	lines []line
	began time.Time
}

type line struct {
	at        time.Time
	who, what string
	event     *eventstore.Recorded
}

func (t *trace) add(it *item) {
	l := line{at: time.Now(), what: it.what}
	if it.of != nil {
		l.who = it.of.name
	}
	t.lines = append(t.lines, l)
}

// note adds what the world or a client did.
func (t *trace) note(who, format string, args ...any) {
	t.lines = append(t.lines, line{at: time.Now(), who: who, what: fmt.Sprintf(format, args...)})
}

// logged adds an event.
func (t *trace) logged(r *eventstore.Recorded) {
	t.lines = append(t.lines, line{at: time.Now(), event: r})
}

// write writes the trace.
func (t *trace) write(w io.Writer) error {
	for n, l := range t.lines {
		at := l.at.Sub(t.began)
		var err error
		if r := l.event; r != nil {
			_, err = fmt.Fprintf(w, "%6d %11s   #%d %s %s v%d %s\n", n, at, r.Position, r.Name, r.Stream, r.Version, r.Payload)
		} else {
			_, err = fmt.Fprintf(w, "%6d %11s %s %s\n", n, at, l.who, l.what)
		}
		if err != nil {
			return fmt.Errorf("write a trace: %w", err)
		}
	}
	return nil
}

// hash tells traces apart.
func (t *trace) hash() string {
	h := sha256.New()
	_ = t.write(h) // a hash takes everything
	return hex.EncodeToString(h.Sum(nil)[:8])
}
