package host

import (
	"fmt"
	"io"
	"sync"
)

// Inside is a worker that lives in this process instead of one of its own. Tests run such ones in virtual time, thousands of
// lives in a minute; everything but the process is as always.
type Inside interface {
	// Serve is the worker's life. When it returns, the worker has ended.
	Serve(in io.Reader, out io.Writer) error
	// Kill is SIGKILL: when it returns, the worker does nothing more to the world outside. Serve returns soon.
	Kill()
}

// insideBody is the body of such a worker.
type insideBody struct {
	worker Inside
	in     *io.PipeReader
	out    *io.PipeWriter
	once   sync.Once
	ended  chan struct{}
	err    error
}

// startInside starts one and returns the host's ends of its pipes.
func startInside(worker Inside) (b *insideBody, out *io.PipeReader, in *io.PipeWriter) {
	b = &insideBody{worker: worker, ended: make(chan struct{})}
	b.in, in = io.Pipe()
	out, b.out = io.Pipe()
	go func() {
		defer close(b.ended)
		b.err = worker.Serve(b.in, b.out)
		b.close()
	}()
	return b, out, in
}

// close closes the pipes, as the end of a process does.
func (b *insideBody) close() {
	_ = b.in.CloseWithError(io.ErrClosedPipe)
	_ = b.out.Close()
}

func (b *insideBody) await() error {
	<-b.ended
	if b.err != nil {
		return fmt.Errorf("exit status 1: %w", b.err)
	}
	return nil
}

// term and kill are the same here: nothing outside of this process has to be waited for.
func (b *insideBody) term() { b.kill() }

func (b *insideBody) kill() {
	b.once.Do(func() {
		b.worker.Kill()
		b.close()
	})
}

var _ body = (*insideBody)(nil)
