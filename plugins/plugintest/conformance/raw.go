package conformance

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/uuid"
)

// raw is a worker to which anything can be said.
type raw struct {
	process
	lines chan []byte
}

func (h *host) startRaw() (*raw, error) {
	r := &raw{lines: make(chan []byte, 64)}
	var err error
	if r.process, err = h.spawn(uuid.NewString()); err != nil {
		return nil, err
	}
	go func() {
		defer close(r.lines)
		defer r.out.Close() //nolint:errcheck // only read
		b := bufio.NewReader(r.out)
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
	r.process.kill()
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
