package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

func checkKill(ctx context.Context, s *session) error {
	l, err := s.acquired(ctx)
	if err != nil {
		return err
	}
	id, r, err := s.start(ctx, l, command{argv: []string{"sleep", "600"}})
	if err != nil {
		return err
	}
	for range 2 {
		if err := s.kill(ctx, l, id, "asked for"); err != nil {
			return err
		}
	}
	d, err := s.finish(ctx, r)
	if err != nil {
		return err
	}
	if d.End != drivers.ExecKilled || d.Why != "asked for" {
		return fmt.Errorf("it ends as %s, %q", d.End, d.Why)
	}
	if err := s.kill(ctx, l, id, "late"); err != nil {
		return fmt.Errorf("killing what has ended: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ends != 1 || r.after {
		return fmt.Errorf("the end was told %d times; output after it: %t", r.ends, r.after)
	}
	return nil
}

func checkNotStarted(ctx context.Context, s *session) error {
	l, err := s.acquired(ctx)
	if err != nil {
		return err
	}
	for what, c := range map[string]command{
		"an empty program":           {argv: []string{""}},
		"an argument with NUL":       {argv: []string{"echo", "a\x00b"}},
		"a variable without a name":  {argv: []string{"echo"}, env: []drivers.EnvVar{{Name: "", Value: "x"}}},
		"a variable's name with '='": {argv: []string{"echo"}, env: []drivers.EnvVar{{Name: "A=B", Value: "x"}}},
	} {
		_, r, err := s.start(ctx, l, c)
		if err == nil {
			return fmt.Errorf("%s: it starts", what)
		}
		e, ok := errors.AsType[*protocol.Error](err)
		if !ok {
			return fmt.Errorf("%s: %w", what, err)
		}
		var data protocol.ErrorData
		if json.Unmarshal(e.Data, &data) != nil || data.Stage == "" {
			return fmt.Errorf("%s: the error does not say at which stage: %s", what, e.Message)
		}
		r.mu.Lock()
		ends := r.ends
		r.mu.Unlock()
		if ends > 0 {
			return fmt.Errorf("%s: an end is told of a command that did not start", what)
		}
	}
	_, err = s.exited(ctx, l, 0, command{argv: []string{"echo", "next"}})
	return err
}

func checkReleaseEnds(ctx context.Context, s *session) error {
	l, err := s.acquired(ctx)
	if err != nil {
		return err
	}
	_, r, err := s.start(ctx, l, command{argv: []string{"sleep", "600"}})
	if err != nil {
		return err
	}
	if err := s.release(ctx, l); err != nil {
		return err
	}
	d, err := s.finish(ctx, r)
	if err != nil {
		return err
	}
	if d.End == drivers.ExecExited && d.ExitCode == 0 {
		return errors.New("it ends as if it had finished")
	}
	_, _, err = s.start(ctx, l, command{argv: []string{"echo"}})
	if err == nil {
		return errors.New("a command starts in a runtime that was released")
	}
	return nil
}

func checkWorkerEnds(ctx context.Context, s *session) error {
	posix, err := s.posix(ctx)
	if err != nil {
		return err
	}
	l, err := s.acquired(ctx)
	if err != nil {
		return err
	}
	mark := fmt.Sprintf("600.%d", uuid.New().ID())
	if _, _, err := s.start(ctx, l, command{argv: []string{"sleep", mark}}); err != nil {
		return err
	}
	here := visible(mark)
	w, err := s.host.worker(ctx)
	if err != nil {
		return err
	}
	_ = w.Close()
	if err := w.gone(ctx, 10*time.Second); err != nil {
		return err
	}
	if posix && here {
		return vanished(ctx, mark)
	}
	return nil
}

// vanished waits a moment for the end of a process: what was killed is seen until the kernel comes to it.
func vanished(ctx context.Context, mark string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(5 * time.Second)
	for visible(mark) {
		select {
		case <-tick.C:
		case <-limit:
			return errors.New("its process is still there")
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// visible reports whether a process of this machine has mark in its arguments.
func visible(mark string) bool {
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return false
	}
	for _, name := range names {
		if b, err := readSmall(name); err == nil && bytes.Contains(b, []byte(mark)) {
			return true
		}
	}
	return false
}
