package protocol

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"
)

var (
	// ErrClosed says that the connection has ended; an error that wraps it says why.
	ErrClosed = errors.New("the connection is closed")
	// ErrNotSent says that no byte of a request left this process, so the peer certainly did not act on it.
	ErrNotSent = errors.New("the request was not sent")
	// ErrBadReply says that a reply came and cannot be read as what was expected. The peer has acted.
	ErrBadReply = errors.New("the reply cannot be read")
	// ErrStalled says that the peer did not read for too long.
	ErrStalled = errors.New("the peer does not read what it is sent")
	// ErrCanceled is the cause that ends a handler whose caller has given up.
	ErrCanceled = errors.New("the caller does not wait any more")
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

// Options of a connection. The zero value is complete; it serves nothing.
type Options struct {
	// Request answers a request of the peer. It runs in a goroutine of its own. ctx ends with the connection, and when the
	// peer sends "$/cancel". An error that is no [*Error] is sent with code -32603; nil is null.
	Request func(ctx context.Context, req Request) (result any, err error)
	// Notification receives the notifications of the peer one at a time in the order of the wire, and whatever comes after
	// one on the wire, replies included, only takes effect when it has returned. So it must not block, and hands slow
	// work on.
	Notification func(n Notification)
	// Junk receives each line that is no message for us, and why: a print of somebody, a reply to nothing. line is valid
	// during the call and may hold secrets. It must not block.
	Junk func(line []byte, why error)
	// AnswerJunk answers such a line with an error that has a null id, as a worker does and a host does not.
	AnswerJunk bool

	// MaxLine is the longest line read or written; 0 is [DefaultMaxLine]. A peer that exceeds it ends the connection.
	MaxLine int
	// QueueBytes bounds what waits to be written; 0 is 8 MiB. One line that is longer waits alone. Who wants to write
	// more waits.
	QueueBytes int
	// WriteTimeout ends the connection if the peer takes nothing for so long while something waits; 0 is a minute.
	WriteTimeout time.Duration
	// MaxRequests bounds the requests of the peer that are served at once; 0 is 4096. More are refused.
	MaxRequests int
}

func (o Options) defaults() Options {
	if o.MaxLine <= 0 {
		o.MaxLine = DefaultMaxLine
	}
	if o.QueueBytes <= 0 {
		o.QueueBytes = 8 << 20
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = time.Minute
	}
	if o.MaxRequests <= 0 {
		o.MaxRequests = 4096
	}
	if o.Request == nil {
		o.Request = func(_ context.Context, req Request) (any, error) { return nil, MethodNotFound(req.Method) }
	}
	if o.Notification == nil {
		o.Notification = func(Notification) {}
	}
	if o.Junk == nil {
		o.Junk = func([]byte, error) {}
	}
	return o
}

// Conn is one end of the wire. Its methods are safe for concurrent use.
type Conn struct {
	opts   Options
	w      io.Writer
	r      io.Reader
	cancel context.CancelCauseFunc
	// done is closed when the connection has ended, wrote when its writer has.
	done, wrote chan struct{}
	wake        chan struct{}
	running     sync.WaitGroup

	mu     sync.Mutex
	err    error
	lastID uint64
	calls  map[string]*call
	active map[string]context.CancelCauseFunc
	// serving counts the requests of the peer that have no answer in the queue yet.
	serving int
	queue   []*frame
	queued  int
	// room is closed and replaced when the queue gets shorter.
	room chan struct{}
	// writeErr is why nothing can be written any more; what the peer still says is read all the same.
	writeErr error
}

// frame is a line that waits to be written or was.
type frame struct {
	line []byte
	// started says that a byte of it may have left.
	started bool
}

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

// NewConn speaks over r and w until either ends. If they are Closers they are closed with the connection.
func NewConn(r io.Reader, w io.Writer, opts Options) *Conn {
	ctx, cancel := context.WithCancelCause(context.Background())
	c := &Conn{
		opts: opts.defaults(), w: w, r: r, cancel: cancel,
		done: make(chan struct{}), wrote: make(chan struct{}), wake: make(chan struct{}, 1), room: make(chan struct{}),
		calls: make(map[string]*call), active: make(map[string]context.CancelCauseFunc),
	}
	c.running.Go(func() { c.read(ctx) })
	c.running.Go(c.write)
	return c
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

// Notify tells the peer something. It returns when the notification has its place in the order of what is written; an
// error says that it was not sent.
func (c *Conn) Notify(ctx context.Context, method string, params any, opts ...CallOption) error {
	o := gather(opts)
	f := outgoing{Method: method, Params: params, Invocation: o.invocation, InvocationID: o.invocationID}
	line, err := c.encode(f)
	if err == nil {
		err = c.enqueue(ctx, &frame{line: line})
	}
	if err != nil {
		return &CallError{Method: method, Err: err}
	}
	return nil
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

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err says why the connection has ended; nil while it has not. It wraps [ErrClosed].
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection. Calls without a reply fail with a [*CallError]. It does not wait; see [Conn.Wait].
func (c *Conn) Close() error {
	c.fail(nil)
	return nil
}

// Wait waits until the connection has ended and every handler has returned. With a reader that cannot be closed, such as
// a terminal, it may wait for its next byte.
func (c *Conn) Wait() { c.running.Wait() }

// fail ends the connection once.
func (c *Conn) fail(why error) {
	err := ErrClosed
	if why != nil {
		err = fmt.Errorf("%w: %w", ErrClosed, why)
	}
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	c.running.Add(1) // while the reader still runs, so that Wait cannot have passed
	c.mu.Unlock()
	c.cancel(err)
	close(c.done)
	closeIf(c.w)
	go func() {
		defer c.running.Done()
		defer closeIf(c.r)
		// What the writer was just writing decides whether its request was sent.
		select {
		case <-c.wrote:
		case <-time.After(time.Second):
		}
		c.settle(err, func(*call) bool { return true })
	}()
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
	full := len(c.active) >= c.opts.MaxRequests
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
