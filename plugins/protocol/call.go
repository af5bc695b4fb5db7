package protocol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// CallError says that a call ended without a reply. [errors.Is] with [ErrNotSent] holds if and only if the request
// certainly was not sent; otherwise the peer may have acted on it.
type CallError struct {
	Method string
	Sent   bool
	// Err is the cause of the context, or wraps [ErrClosed].
	Err error
}

func (e *CallError) Error() string {
	if e.Sent {
		return fmt.Sprintf("%s: no reply: %v", e.Method, e.Err)
	}
	return fmt.Sprintf("%s: %v: %v", e.Method, ErrNotSent, e.Err)
}

func (e *CallError) Unwrap() error { return e.Err }

// Is matches [ErrNotSent].
func (e *CallError) Is(target error) bool { return target == ErrNotSent && !e.Sent }

// call is a request of ours without a reply.
type call struct {
	method string
	frame  *frame
	reply  chan reply
	late   func(json.RawMessage, error)
	// abandoned says that nobody reads reply any more.
	abandoned bool
}

// reply is what ends a call.
type reply struct {
	result json.RawMessage
	err    error
}

// CallOption changes one call or notification.
type CallOption func(*callOptions)

type callOptions struct {
	invocation   *Invocation
	invocationID string
	late         func(json.RawMessage, error)
	enough       <-chan struct{}
}

// CancelWhen tells the peer by "$/cancel" when enough is closed and goes on waiting until the context is done: a peer that
// heeds it still has the time to say why it did not get further.
func CancelWhen(enough <-chan struct{}) CallOption {
	return func(o *callOptions) { o.enough = enough }
}

// WithInvocation sends an invocation, from host to worker.
func WithInvocation(inv Invocation) CallOption {
	return func(o *callOptions) { o.invocation = &inv }
}

// WithInvocationID names the invocation that this is part of, from worker to host.
func WithInvocationID(id string) CallOption {
	return func(o *callOptions) { o.invocationID = id }
}

// OnLate receives the reply to a call that has returned without one because its context was done: the result, or an
// [*Error]. It is called at most once, in a goroutine of its own, and not at all if the connection ends first.
func OnLate(f func(result json.RawMessage, err error)) CallOption {
	return func(o *callOptions) { o.late = f }
}

// Call asks the peer and decodes its result, unless result is nil. The error is an [*Error] if the peer refused, a
// [*CallError] if there is no reply, and wraps [ErrBadReply] if the reply is not what result can hold. When ctx is done
// the peer is told by "$/cancel".
func (c *Conn) Call(ctx context.Context, method string, params, result any, opts ...CallOption) error {
	o := gather(opts)
	in := &call{method: method, frame: new(frame), reply: make(chan reply, 1), late: o.late}
	id, err := c.register(in)
	if err != nil {
		return &CallError{Method: method, Err: err}
	}
	f := outgoing{ID: json.RawMessage(id), Method: method, Params: params, Invocation: o.invocation, InvocationID: o.invocationID}
	if in.frame.line, err = c.encode(f); err == nil {
		err = c.enqueue(ctx, in.frame)
	}
	if err != nil {
		c.forget(id)
		return &CallError{Method: method, Err: err}
	}
	for {
		select {
		case r := <-in.reply:
			return r.decode(method, result)
		case <-ctx.Done():
			return c.abandon(ctx, id, in, result)
		case <-o.enough:
			o.enough = nil
			c.offer(outgoing{Method: NotifyCancel, Params: cancelParams{ID: json.RawMessage(id)}})
		}
	}
}

func gather(opts []CallOption) callOptions {
	var o callOptions
	for _, set := range opts {
		set(&o)
	}
	return o
}

func (c *Conn) register(in *call) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return "", c.err
	}
	c.lastID++
	id := strconv.FormatUint(c.lastID, 10)
	c.calls[id] = in
	return id, nil
}

func (c *Conn) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, id)
}

// abandon ends the wait for a reply.
func (c *Conn) abandon(ctx context.Context, id string, in *call, result any) error {
	c.mu.Lock()
	select {
	case r := <-in.reply: // it came in this instant
		c.mu.Unlock()
		return r.decode(in.method, result)
	default:
	}
	sent := in.frame.started
	if !sent {
		c.unqueue(in.frame)
	}
	if in.abandoned = sent && in.late != nil; !in.abandoned {
		delete(c.calls, id)
	}
	c.mu.Unlock()
	if sent {
		c.offer(outgoing{Method: NotifyCancel, Params: cancelParams{ID: json.RawMessage(id)}})
	}
	return &CallError{Method: in.method, Sent: sent, Err: context.Cause(ctx)}
}

// cancelParams are those of [NotifyCancel].
type cancelParams struct {
	ID json.RawMessage `json:"id"`
}

func (r reply) decode(method string, result any) error {
	if r.err != nil || result == nil {
		return r.err
	}
	if err := json.Unmarshal(r.result, result); err != nil {
		// Not with the text of err, which may quote the reply.
		return fmt.Errorf("%s: %w: it does not have the expected form", method, ErrBadReply)
	}
	return nil
}

// settle fails the calls that fit.
func (c *Conn) settle(err error, fits func(*call) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, in := range c.calls {
		if !fits(in) {
			continue
		}
		delete(c.calls, id)
		if !in.abandoned {
			in.reply <- reply{err: &CallError{Method: in.method, Sent: in.frame.started, Err: err}}
		}
	}
}

func closeIf(v any) {
	if closer, ok := v.(io.Closer); ok {
		_ = closer.Close() // the connection has ended already; there is nobody to tell
	}
}

// deliver gives a reply to whom it belongs.
func (c *Conn) deliver(line []byte, f incoming) {
	r := reply{result: f.Result}
	if e := parseError(f.Error); e != nil {
		r.err = e
	} else if f.Result == nil {
		r.result = json.RawMessage("null")
	}
	id := string(f.ID)
	c.mu.Lock()
	in, known := c.calls[id]
	delete(c.calls, id)
	if known && !in.abandoned {
		in.reply <- r
	}
	c.mu.Unlock()
	switch {
	case !known:
		c.opts.Junk(line, errors.New("it is a reply to no request that waits for one"))
	case in.abandoned:
		c.running.Go(func() { in.late(r.result, r.err) })
	}
}
