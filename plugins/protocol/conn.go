package protocol

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	// MaxRequests bounds the requests of the peer that are served at once, those whose answer waits to be written among
	// them; 0 is 4096. More are refused.
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
