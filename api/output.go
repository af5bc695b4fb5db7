package api

import (
	"errors"
	"io"
	"io/fs"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// outputRequest says which part of an output is wanted, and how.
type outputRequest struct {
	offset int64
	// only is the stream to show; "" is both.
	only        string
	follow, raw bool
}

func (c *call) outputRequest() (q outputRequest, err error) {
	if err := c.only("offset", "follow", "stream", "raw"); err != nil {
		return q, err
	}
	if q.offset, err = c.number("offset"); err != nil {
		return q, err
	}
	if q.follow, err = c.flag("follow"); err != nil {
		return q, err
	}
	if q.raw, err = c.flag("raw"); err != nil {
		return q, err
	}
	switch q.only = c.QueryParam("stream"); q.only {
	case "", "stdout", "stderr":
		return q, nil
	}
	return q, invalid("invalid_parameter", "stream", "%q is no stream", clip(q.only)).Mend("use stdout or stderr, or leave it out for both")
}

// execOutput sends the output of a command: as NDJSON, or as the bytes themselves. With follow it ends when the output is
// sealed, without it at what there is.
func (s *Server) execOutput(c *call) error {
	q, err := c.outputRequest()
	if err != nil {
		return err
	}
	o := &outputReader{c: c, q: q}
	defer o.close()
	o.signals, o.stop = s.deps.Hub.Watch(commands.Executions.Stream(c.id))
	if err := o.look(); err != nil {
		return err
	}
	if err := o.open(); err != nil {
		return err
	}
	contentType := wire.TypeNDJSON
	if q.raw {
		contentType = echo.MIMEOctetStream
	}
	st, err := c.stream(contentType)
	if err != nil {
		return err
	}
	return st.finish(o.send(st))
}

// outputReader follows an output and the exec whose it is.
type outputReader struct {
	c *call
	q outputRequest
	// output is nil before there is one.
	output  Output
	exec    execution.State
	looked  time.Time
	signals <-chan struct{}
	stop    func()
}

func (o *outputReader) close() {
	if o.output != nil {
		_ = o.output.Close() // only read
	}
	if o.stop != nil {
		o.stop()
	}
}

// look reads where the exec stands.
func (o *outputReader) look() (err error) {
	o.looked = time.Now()
	o.exec, err = o.c.server.deps.Commands.Exec(o.c.ctx(), domain.ExecID{UUID: o.c.id})
	return err
}

func (o *outputReader) ended() bool { return o.exec.Status == execution.StatusEnded }

// open opens the output, if it is there. One that had bytes and is gone is refused: an empty answer would be a lie.
func (o *outputReader) open() error {
	output, err := o.c.server.deps.Output.OpenOutput(o.c.ctx(), OutputPlace{Exec: domain.ExecID{UUID: o.c.id}, Node: o.exec.Node}, o.q.offset)
	switch {
	case err == nil:
		o.output = output
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case o.ended() && o.exec.Seal.Stdout.Bytes+o.exec.Seal.Stderr.Bytes > 0:
		return domain.Refuse(domain.KindGone, "output_gone", "the output is not kept any more").
			Mend("see the exec for its size and hashes; read outputs while their lease is there")
	}
	return nil
}

// send sends what there is, and with follow what comes, until the seal.
func (o *outputReader) send(st *stream) error {
	for pause := shortestPause; ; pause = min(2*pause, longestPause) {
		// What was ended before the last look at the output has written all that it ever will.
		ended := o.ended()
		sent, err := o.drain(st)
		if err != nil || st.ended() {
			return err
		}
		switch {
		case ended:
			return o.seal(st)
		case !o.q.follow:
			return nil
		case sent:
			pause = shortestPause
		}
		if err := st.flush(); err != nil {
			return err
		}
		if open, err := o.sleep(st, pause); !open || err != nil {
			return err
		}
	}
}

const (
	// The journal is written by another process, so it is polled.
	shortestPause = 10 * time.Millisecond
	longestPause  = 100 * time.Millisecond
)

// sleep waits for more: of the output, or of the exec.
func (o *outputReader) sleep(st *stream, pause time.Duration) (open bool, err error) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	changed := false
	select {
	case _, open := <-o.signals:
		if !open {
			return false, nil
		}
		changed = true
	case <-timer.C:
	case <-st.ends.Done():
		return false, nil
	}
	if changed || time.Since(o.looked) > lookAgain {
		// The output is on this machine: while the log cannot be asked, it is followed all the same.
		if err := o.look(); err != nil && !away(err) {
			return !st.ended(), err
		}
	}
	return true, nil
}

// drain sends what is there.
func (o *outputReader) drain(st *stream) (sent bool, err error) {
	if o.output == nil {
		if err := o.open(); err != nil || o.output == nil {
			return false, err
		}
	}
	for !st.ended() {
		frame, err := o.output.Next()
		if errors.Is(err, io.EOF) {
			return sent, nil
		}
		if err != nil {
			return sent, err
		}
		sent = true
		if o.q.only != "" && frame.Stream != o.q.only {
			continue
		}
		if err := o.piece(st, frame); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

func (o *outputReader) piece(st *stream, f OutputFrame) error {
	if o.q.raw {
		_, err := st.buffer.Write(f.Data)
		return err
	}
	return st.line(wire.OutputLine{Offset: f.Offset, Stream: f.Stream, At: f.At.UTC(), Data: f.Data, Dropped: f.Dropped})
}

// sealedLine is the last line of an output.
type sealedLine struct {
	Sealed *wire.Sealed `json:"sealed"`
}

func (o *outputReader) seal(st *stream) error {
	if o.q.raw {
		return nil
	}
	return st.line(sealedLine{Sealed: showSeal(o.exec.Seal)})
}
