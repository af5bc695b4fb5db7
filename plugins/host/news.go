package host

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/tenure-dev/tenure/plugins/protocol"
)

// news takes what a worker says to the log. It never blocks who brings it: what the log cannot take is counted and dropped.
type news struct {
	log     *slog.Logger
	secrets *secrets
	dropped atomic.Int64

	mu     sync.Mutex
	closed bool
	lines  chan line
	done   chan struct{}
}

type line struct {
	level   slog.Level
	message string
	attrs   []slog.Attr
}

const (
	newsQueue  = 256
	newsLength = 4000
)

func newNews(log *slog.Logger, s *secrets) *news {
	n := &news{log: log, secrets: s, lines: make(chan line, newsQueue), done: make(chan struct{})}
	go n.write()
	return n
}

func (n *news) write() {
	defer close(n.done)
	for l := range n.lines {
		n.log.LogAttrs(context.Background(), l.level, l.message, l.attrs...)
		if lost := n.dropped.Swap(0); lost > 0 {
			n.log.Warn("lines of a plugin's worker were dropped", "lines", lost)
		}
	}
}

// close waits until what was brought is written.
func (n *news) close() {
	n.mu.Lock()
	if !n.closed {
		n.closed = true
		close(n.lines)
	}
	n.mu.Unlock()
	<-n.done
}

func (n *news) put(l line) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	select {
	case n.lines <- l:
	default:
		n.dropped.Add(1)
	}
}

// stderr takes a line that is clean already.
func (n *news) stderr(text string) {
	n.put(line{level: slog.LevelInfo, message: "a plugin's worker wrote to stderr", attrs: []slog.Attr{slog.String("text", clip(text, newsLength))}})
}

// junk takes a line of stdout that is no message.
func (n *news) junk(text []byte, why error) {
	shown := n.secrets.quote(string(text[:min(len(text), quotable)]), 200)
	if bytes.Contains(text[:min(len(text), 200)], []byte(`"jsonrpc"`)) {
		shown = "" // a late or broken message may hold what a run wrote
	}
	n.put(line{level: slog.LevelWarn, message: "a plugin's worker wrote something else than messages to stdout", attrs: []slog.Attr{
		slog.String("text", shown), slog.String("why", why.Error()), slog.Int("bytes", len(text)),
	}})
}

// said takes what a worker logs.
func (n *news) said(params json.RawMessage) {
	var p protocol.LogParams
	if json.Unmarshal(params, &p) != nil {
		return
	}
	level := slog.LevelInfo
	switch p.Level {
	case "debug":
		level = slog.LevelDebug
	case "warn":
		level = slog.LevelWarn
	case "error":
		level = slog.LevelError
	}
	attrs := []slog.Attr{slog.String("text", n.secrets.quote(p.Message, newsLength))}
	if len(p.Meta) > 0 && string(p.Meta) != "null" {
		attrs = append(attrs, slog.String("meta", n.secrets.quote(string(p.Meta), newsLength)))
	}
	n.put(line{level: level, message: "a plugin's worker says", attrs: attrs})
}
