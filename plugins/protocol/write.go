package protocol

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// frame is a line that waits to be written or was.
type frame struct {
	line []byte
	// started says that a byte of it may have left.
	started bool
}

func (c *Conn) encode(f outgoing) ([]byte, error) {
	line, err := f.encode()
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	if len(line) > c.opts.MaxLine {
		return nil, &LineError{Limit: c.opts.MaxLine}
	}
	return line, nil
}

// Flush waits until everything that was to be written at the time of the call has been.
func (c *Conn) Flush(ctx context.Context) error {
	marker := new(frame) // an empty line costs nothing and is not written
	if err := c.enqueue(ctx, marker); err != nil {
		return err
	}
	for {
		c.mu.Lock()
		room, passed, err := c.room, marker.started, cmp.Or(c.err, c.writeErr)
		c.mu.Unlock()
		switch {
		case passed:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-room:
		case <-c.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Answered waits until every request of the peer that is being served has its answer among what is written.
func (c *Conn) Answered(ctx context.Context) error {
	for {
		c.mu.Lock()
		room, idle, err := c.room, c.serving == 0, c.err
		c.mu.Unlock()
		switch {
		case err != nil:
			return err
		case idle:
			return nil
		}
		select {
		case <-room:
		case <-c.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// enqueue gives f its place among what is written, and waits for room. An error means that it never will be written.
func (c *Conn) enqueue(ctx context.Context, f *frame) error {
	for {
		c.mu.Lock()
		if err := cmp.Or(c.err, c.writeErr); err != nil {
			c.mu.Unlock()
			return err
		}
		if len(c.queue) == 0 || c.queued+len(f.line) <= c.opts.QueueBytes {
			c.push(f)
			c.mu.Unlock()
			return nil
		}
		room := c.room
		c.mu.Unlock()
		select {
		case <-room:
		case <-c.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// offer writes f if there is room for it and nobody has to wait.
func (c *Conn) offer(f outgoing) {
	line, err := c.encode(f)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && c.writeErr == nil && c.queued+len(line) <= c.opts.QueueBytes {
		c.push(&frame{line: line})
	}
}

// push appends to the queue; mu is held.
func (c *Conn) push(f *frame) {
	c.queue = append(c.queue, f)
	c.queued += len(f.line)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// unqueue takes a frame out of the queue again; mu is held.
func (c *Conn) unqueue(f *frame) {
	if i := slices.Index(c.queue, f); i >= 0 {
		c.queue = slices.Delete(c.queue, i, i+1)
		c.queued -= len(f.line)
	}
	c.madeRoom()
}

// madeRoom wakes who waits for the queue; mu is held.
func (c *Conn) madeRoom() {
	close(c.room)
	c.room = make(chan struct{})
}

// write writes the queue until the connection ends or the peer takes no more.
func (c *Conn) write() {
	defer close(c.wrote)
	for {
		f := c.nextFrame()
		if f == nil {
			return
		}
		if n, err := c.writeLine(f.line); err != nil {
			c.writeFailed(f, n, err)
			return
		}
	}
}

// nextFrame waits for a frame and takes it out of the queue; nil is the end.
func (c *Conn) nextFrame() *frame {
	for {
		c.mu.Lock()
		if c.err == nil && len(c.queue) > 0 {
			f := c.queue[0]
			c.queue = c.queue[1:]
			c.queued -= len(f.line)
			f.started = true
			c.madeRoom()
			c.mu.Unlock()
			return f
		}
		ended := c.err != nil
		c.mu.Unlock()
		if ended {
			return nil
		}
		select {
		case <-c.wake:
		case <-c.done:
		}
	}
}

// writeLine writes a line in pieces, each of which must make progress in time.
func (c *Conn) writeLine(line []byte) (int, error) {
	const piece = 64 << 10
	written := 0
	for len(line) > 0 {
		stalled := time.AfterFunc(c.opts.WriteTimeout, func() { c.fail(ErrStalled) })
		n, err := c.w.Write(line[:min(piece, len(line))])
		stalled.Stop()
		written += n
		if err != nil {
			return written, err
		}
		line = line[n:]
	}
	return written, nil
}

// drainAfter is how long the peer's last words are read after it has stopped listening.
const drainAfter = 2 * time.Second

// writeFailed ends the direction to the peer. A process that died has perhaps answered before, so its words are read to
// the end.
func (c *Conn) writeFailed(f *frame, n int, err error) {
	err = fmt.Errorf("write: %w", err)
	closed := fmt.Errorf("%w: %w", ErrClosed, err)
	c.mu.Lock()
	if c.err != nil {
		closed = c.err // the write failed because of it
	}
	c.writeErr = closed
	if n == 0 {
		f.started = false
	}
	c.queue, c.queued = nil, 0
	c.madeRoom()
	c.mu.Unlock()
	c.settle(closed, func(in *call) bool { return !in.frame.started })
	select {
	case <-c.done:
	case <-time.After(drainAfter):
		c.fail(err)
	}
}
