package conformance

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/plugins/internal/spawn"
)

// raw is a worker to which anything can be said.
type raw struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	lines  chan []byte
	stderr *tail
	ended  chan struct{}
}

func (h *host) startRaw() (*raw, error) {
	r := &raw{lines: make(chan []byte, 64), stderr: new(tail), ended: make(chan struct{})}
	r.cmd = exec.Command(h.command[0], h.command[1:]...) //nolint:noctx // its group is ended in kill
	r.cmd.Env = h.environment(uuid.NewString())
	r.cmd.Stderr, r.cmd.WaitDelay = r.stderr, time.Second
	var err error
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start the worker: %w", err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the worker: %w", err)
	}
	r.cmd.Stdout = outW
	err = spawn.Start(r.cmd, h.as)
	if err := errors.Join(err, outW.Close()); err != nil {
		return nil, fmt.Errorf("start the worker: %w", errors.Join(err, outR.Close()))
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(r.lines)
		defer outR.Close() //nolint:errcheck // only read
		b := bufio.NewReader(outR)
		for {
			line, err := b.ReadBytes('\n')
			if len(line) > 0 {
				select {
				case r.lines <- bytes.TrimSpace(line):
				case <-r.ended:
				}
			}
			if err != nil {
				return
			}
		}
	}()
	go func() {
		_ = spawn.Wait(r.cmd) // how it ended is in ProcessState
		close(r.ended)
	}()
	return r, nil
}

func (r *raw) send(line string) error {
	_, err := io.WriteString(r.in, line+"\n")
	return err
}

func (r *raw) next(ctx context.Context) ([]byte, error) {
	select {
	case line, ok := <-r.lines:
		if !ok {
			<-r.ended
			return nil, errors.New("the worker has closed its end")
		}
		return line, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// errSilent says that a worker is there and does not answer.
var errSilent = errors.New("health is not answered any more")

func (r *raw) explain(err error) error {
	if errors.Is(err, errSilent) {
		return err
	}
	select {
	case <-time.After(lastWords):
		return err
	case <-r.ended:
		return fmt.Errorf("%w; the worker has ended (%v) and said: %s", err, r.cmd.ProcessState, r.stderr.String())
	}
}

func (r *raw) kill() {
	select {
	case <-r.ended:
	default:
		_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL) // it has not been waited for, so the pid is its own
		<-r.ended
	}
	_ = r.in.Close()
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	return io.ReadAll(io.LimitReader(f, 1<<20))
}
