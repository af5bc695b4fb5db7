package pgtest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"strings"
)

// Side is who sends a message.
type Side int

// The sides of a link.
const (
	FromClient Side = iota
	FromServer
)

// Trap spoils one link at one message.
type Trap struct {
	// Statement is a part of a statement that the client named on the link; links without it are left alone.
	Statement string
	// From is who sends the message, Message its number from 0 since the trap was set or the link began.
	From    Side
	Message int
	// Half lets the first half of the message pass, and no more.
	Half bool
	// Silent lets both ends of the link stand and carries nothing any more. Otherwise both are closed.
	Silent bool

	sprung chan struct{}
	kind   byte
}

// Sprung is closed once the link is spoiled.
func (t *Trap) Sprung() <-chan struct{} { return t.sprung }

// Kind is the type of the message at which the trap sprang.
func (t *Trap) Kind() byte { return t.kind }

// header is what is known of a message before its body.
type header struct {
	from Side
	kind byte
}

// errSpoiled ends the pumps of a link that is spoiled.
var errSpoiled = errors.New("the link is spoiled")

// pass carries one message, of which the type was read already; h is nil for the first one of a client, which has none.
func (l *link) pass(r *bufio.Reader, dst io.Writer, h *header) error {
	head := make([]byte, 4, 5)
	if _, err := io.ReadFull(r, head); err != nil {
		return err
	}
	size := int64(binary.BigEndian.Uint32(head)) - 4
	if h == nil {
		return forward(dst, head, r, size)
	}
	full := append([]byte{h.kind}, head...)
	if h.from == FromServer && l.proxy.swallows() {
		return errSpoiled
	}
	if trap := l.proxy.springs(l, *h); trap != nil {
		if !trap.Silent {
			defer l.cut()
		} else {
			l.kill()
		}
		if trap.Half {
			if err := forward(dst, full, r, size/2); err != nil {
				return err
			}
		}
		return errSpoiled
	}
	select {
	case <-l.dead:
		return errSpoiled
	default:
	}
	if h.from == FromClient && (h.kind == 'P' || h.kind == 'Q') {
		body := make([]byte, size)
		if _, err := io.ReadFull(r, body); err != nil {
			return err
		}
		l.proxy.named(l, string(body))
		_, err := dst.Write(append(full, body...))
		return err
	}
	return forward(dst, full, r, size)
}

// forward sends a small message as one write: PgBouncer takes no part of a message while it logs in.
func forward(dst io.Writer, head []byte, r io.Reader, size int64) error {
	small := make([]byte, min(size, 64<<10))
	n, err := io.ReadFull(r, small)
	if _, err := dst.Write(append(head, small[:n]...)); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	_, err = io.CopyN(dst, r, size-int64(n))
	return err
}

// swallows reports whether this reply is to vanish.
func (p *Proxy) swallows() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.swallow == 0 {
		return false
	}
	p.swallow--
	return true
}

func (p *Proxy) named(l *link, statement string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.statements.WriteString(statement)
}

// springs reports the trap, if it springs at this message.
func (p *Proxy) springs(l *link, h header) *Trap {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.trap
	if t == nil || !strings.Contains(l.statements.String(), t.Statement) {
		return nil
	}
	if l.trap != t {
		l.trap, l.count = t, [2]int{}
	}
	n := l.count[h.from]
	l.count[h.from]++
	if h.from != t.From || n != t.Message {
		return nil
	}
	p.trap = nil
	t.kind = h.kind
	close(t.sprung)
	return t
}
