package protocol

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
)

// Request is a request of the peer.
type Request struct {
	Method string
	// Params is nil where the peer sent none.
	Params json.RawMessage
	// Invocation and InvocationID are the envelope's extensions: the first comes from a host, the second from a worker; nil
	// and "" where there are none.
	Invocation   *Invocation
	InvocationID string
}

// Notification is a notification of the peer; see [Request].
type Notification struct {
	Method       string
	Params       json.RawMessage
	Invocation   *Invocation
	InvocationID string
}

// read takes the peer's lines to their places until there are no more.
func (c *Conn) read(ctx context.Context) {
	lines := newLineReader(c.r, c.opts.MaxLine)
	for {
		line, err := lines.next()
		if _, long := errors.AsType[*LineError](err); long {
			c.fail(err)
			// The peer may not be able to notice its end before somebody has read what it wrote.
			_, _ = io.Copy(io.Discard, c.r)
			return
		}
		// A line without an end is whole if it is an object, since an object says itself where it ends.
		if len(bytes.TrimSpace(line)) > 0 {
			c.dispatch(ctx, line)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the peer has closed its end")
			}
			c.fail(err)
			return
		}
	}
}

func (c *Conn) dispatch(ctx context.Context, line []byte) {
	f, kind, why := parseFrame(line)
	switch kind {
	case kindJunk:
		c.junk(line, why)
	case kindReply:
		c.deliver(line, f)
	case kindNotification:
		if *f.Method == NotifyCancel {
			c.cancelRequest(f.Params)
			return
		}
		inv, id := f.invocation()
		c.opts.Notification(Notification{Method: *f.Method, Params: f.Params, Invocation: inv, InvocationID: id})
	case kindRequest:
		c.serve(ctx, f)
	}
}

func (c *Conn) junk(line []byte, why error) {
	c.opts.Junk(line, why)
	if c.opts.AnswerJunk {
		c.offer(outgoing{ID: json.RawMessage("null"), Error: Errorf(CodeParse, "parse error: %v", why)})
	}
}

func (c *Conn) cancelRequest(params json.RawMessage) {
	var p cancelParams
	if json.Unmarshal(params, &p) != nil {
		return
	}
	c.mu.Lock()
	cancel := c.active[string(p.ID)]
	c.mu.Unlock()
	if cancel != nil {
		cancel(ErrCanceled)
	}
}

// serve begins the answer to a request. Its id is known before the next line is read, so that a cancel finds it.
func (c *Conn) serve(ctx context.Context, f incoming) {
	id := string(f.ID)
	ctx, cancel := context.WithCancelCause(ctx)
	c.mu.Lock()
	_, twice := c.active[id]
	full := c.serving >= c.opts.MaxRequests
	if !twice && !full {
		c.active[id] = cancel
		c.serving++
	}
	c.mu.Unlock()
	switch {
	case twice:
		cancel(nil)
		c.offer(outgoing{ID: f.ID, Error: Errorf(CodeInvalidRequest, "a request with this id is being served")})
		return
	case full:
		cancel(nil)
		c.offer(outgoing{ID: f.ID, Error: Errorf(CodeWorkerUnavailable, "more than %d requests at once", c.opts.MaxRequests)})
		return
	}
	inv, invID := f.invocation()
	req := Request{Method: *f.Method, Params: f.Params, Invocation: inv, InvocationID: invID}
	c.running.Go(func() {
		defer cancel(nil)
		result, err := c.opts.Request(ctx, req)
		c.mu.Lock()
		delete(c.active, id)
		c.mu.Unlock()
		c.answer(f.ID, result, err)
		c.mu.Lock()
		c.serving--
		c.madeRoom()
		c.mu.Unlock()
	})
}

func (c *Conn) answer(id json.RawMessage, result any, err error) {
	f := outgoing{ID: id}
	if err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			e = Errorf(CodeInternal, "%v", err)
		}
		f.Error = e
	} else if f.Result, err = json.Marshal(result); err != nil {
		f.Result, f.Error = nil, Errorf(CodeInternal, "the result is no JSON")
	}
	line, err := c.encode(f)
	if err != nil {
		line, err = c.encode(outgoing{ID: id, Error: Errorf(CodeInternal, "the result cannot be sent: %v", err)})
	}
	if err == nil {
		// Who waits for room waits until the connection ends; then nobody waits for the answer.
		_ = c.enqueue(context.Background(), &frame{line: line})
	}
}
