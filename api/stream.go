package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/tenure-dev/tenure/eventstore"
)

// stream is an answer of no known length. It holds at most one buffer; a reader that takes nothing for the write timeout is
// cut off, and when the server closes, the stream ends in order.
type stream struct {
	c       *call
	control *http.ResponseController
	buffer  *bufio.Writer
	// ends is done when the client is gone or the server closes.
	ends context.Context
	done context.CancelFunc
}

const streamBuffer = 32 << 10

// stream begins an answer. The caller closes it.
func (c *call) stream(contentType string) (*stream, error) {
	s := c.server
	if s.streams.Add(1) > s.deps.Limits.MaxStreams {
		s.streams.Add(-1)
		return nil, errTooManyStreams
	}
	s.metrics.streams.Inc()
	st := &stream{c: c, control: http.NewResponseController(c.Response().Writer)}
	st.ends, st.done = context.WithCancel(c.ctx())
	stop := context.AfterFunc(s.background, st.done)
	cancel := st.done
	st.done = func() {
		stop()
		cancel()
		s.streams.Add(-1)
		s.metrics.streams.Dec()
	}
	st.buffer = bufio.NewWriterSize(st, streamBuffer)
	h := c.Response().Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	c.Response().WriteHeader(http.StatusOK)
	if err := st.flush(); err != nil {
		st.done()
		return nil, err
	}
	return st, nil
}

// Write sends what the buffer gives up.
func (st *stream) Write(p []byte) (int, error) {
	_ = st.control.SetWriteDeadline(time.Now().Add(st.c.server.deps.Limits.WriteTimeout))
	return st.c.Response().Write(p)
}

// flush sends what is in the buffer.
func (st *stream) flush() error {
	if err := st.buffer.Flush(); err != nil {
		return err
	}
	_ = st.control.SetWriteDeadline(time.Now().Add(st.c.server.deps.Limits.WriteTimeout))
	return st.control.Flush()
}

// line writes a JSON document on a line of its own.
func (st *stream) line(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err = st.buffer.Write(raw); err == nil {
		err = st.buffer.WriteByte('\n')
	}
	return err
}

// away reports whether the log cannot be asked at present. A stream that has begun outlasts that: it shows what there is and
// looks again.
func away(err error) bool { return errors.Is(err, eventstore.ErrUnavailable) }

// ended reports whether there is nobody to write for.
func (st *stream) ended() bool { return st.ends.Err() != nil }

// finish is the end of a stream: an error of a client that went away is none, since nobody is left to hear of it.
func (st *stream) finish(err error) error {
	defer st.done()
	if err == nil {
		err = st.flush()
	}
	if st.c.ctx().Err() != nil {
		return nil
	}
	return err
}
