package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// Serve serves p on the process's standard input and output until the host goes away, asks for a shutdown, or ctx or a
// signal ends it. It returns nil for each of those. From the call on the standard output of the process is its stderr.
func Serve(ctx context.Context, p Plugin) error {
	wire, err := TakeStdio()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT)
	defer stop()
	return ServeOn(ctx, p, wire.In, wire.Out)
}

// Stdio are the two ends of the wire that a process was started with.
type Stdio struct{ In, Out *os.File }

// TakeStdio takes the wire from descriptors 0 and 1, which are then /dev/null and stderr: for this process, whatever its
// libraries print, and for every process that it starts.
func TakeStdio() (Stdio, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return Stdio{}, fmt.Errorf("take standard input and output: %w", err)
	}
	defer null.Close() //nolint:errcheck // it has been copied
	in, err1 := move(0, int(null.Fd()))
	out, err2 := move(1, 2)
	if err := errors.Join(err1, err2); err != nil {
		return Stdio{}, fmt.Errorf("take standard input and output: %w", err)
	}
	return Stdio{In: os.NewFile(uintptr(in), "wire in"), Out: os.NewFile(uintptr(out), "wire out")}, nil
}

// move copies a descriptor to another number, which no child inherits, and puts with in its place.
func move(fd, with int) (int, error) {
	moved, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return 0, err
	}
	return moved, unix.Dup3(with, fd, 0)
}

// ServeOn is Serve on any pipe, without signals.
func ServeOn(ctx context.Context, p Plugin, in io.Reader, out io.Writer) error {
	if err := p.validate(); err != nil {
		return err
	}
	if p.Drain <= 0 {
		p.Drain = defaultDrain
	}
	scratch, err := openScratch(os.TempDir())
	if err != nil {
		return err
	}
	s := &server{
		plugin: p, log: slog.New(slog.NewTextHandler(os.Stderr, nil)), scratch: scratch,
		execs: make(map[string]*execution), drained: make(chan struct{}), connected: make(chan struct{}),
	}
	s.life, s.end = context.WithCancelCause(context.WithoutCancel(ctx))
	s.conn = protocol.NewConn(in, out, protocol.Options{
		Request: s.request, Notification: s.notification, AnswerJunk: true,
		Junk: func(_ []byte, why error) { s.log.Warn("a line of the host is no message", "why", why) },
	})
	close(s.connected)
	select {
	case <-s.conn.Done():
	case <-s.drained:
	case <-ctx.Done():
		s.drain()
	}
	return s.finish()
}

// server is one served plugin.
type server struct {
	plugin    Plugin
	log       *slog.Logger
	scratch   *scratch
	conn      *protocol.Conn
	connected chan struct{} // closed when conn is set
	// life ends when nothing is served any more.
	life context.Context
	end  context.CancelCauseFunc

	calls    sync.WaitGroup
	streams  sync.WaitGroup // of the commands
	draining sync.Once
	drained  chan struct{}

	mu      sync.Mutex
	tenure  bool // both sides speak the extension
	begun   bool // initialize was answered
	closing bool
	execs   map[string]*execution
}

var errClosing = errors.New("the worker ends")

// enter counts a call that drain waits for; false if no more are served.
func (s *server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.calls.Add(1)
	return true
}

// drain ends what runs in order. When it returns, everything that is to be told has its place on the wire.
func (s *server) drain() {
	s.draining.Do(func() {
		deadline := time.Now().Add(s.plugin.Drain * 3 / 4) // the rest is for what is on its way
		s.mu.Lock()
		s.closing = true
		s.mu.Unlock()
		// Half the time for calls, so that what they make is told; then commands are asked to end; then they are ended.
		await(&s.calls, time.Until(deadline)/2, s.conn.Done())
		s.endExecs("worker_ended", time.Until(deadline)*2/3, time.Until(deadline))
		close(s.drained)
	})
	<-s.drained
}

// await waits for a group, but not for ever, and not when enough is closed.
func await(group *sync.WaitGroup, limit time.Duration, enough <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-enough:
	}
}

// finish ends what is left, tells what was to be told and closes the wire.
func (s *server) finish() error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	// The host is gone or has had its answers: no grace.
	s.endExecs("worker_ended", 0, s.plugin.Drain/2)
	flush, cancel := context.WithTimeout(context.Background(), s.plugin.Drain/4)
	defer cancel()
	// Who does not read any more does not need it, and a call that is not over by now has no answer.
	_ = s.conn.Answered(flush)
	_ = s.conn.Flush(flush)
	_ = s.conn.Close()
	s.end(errClosing)
	await(&s.streams, time.Second, nil) // a driver that waits on regardless does not hold up the end
	var err error
	if s.plugin.Closed != nil {
		err = s.plugin.Closed()
	}
	err = errors.Join(err, s.scratch.remove())
	if _, long := errors.AsType[*protocol.LineError](s.conn.Err()); long {
		err = errors.Join(err, s.conn.Err())
	}
	return err
}

// driver finds a driver by the key of a call.
func (s *server) driver(key string) (drivers.Driver, error) {
	d, ok := s.plugin.Drivers[key]
	if !ok {
		return nil, protocol.Errorf(protocol.CodeInvalidParams, "this plugin has no driver %q", key)
	}
	return d, nil
}
