// Command demo shows Tenure at work, on a machine that has Go and what make setup installs: a server in a temporary directory,
// a lease, a command in it, the history from the log, a rebuilt read model; and the same command on this machine, over SSH, in
// a sandbox and in a container, with an SSH server and, as root, a Docker engine of its own. Afterwards it proves that nothing
// is left: no process, no file. Its last line is "demo ok".
//
//	go build -o build/demo ./cmd/internal/demo && build/demo -bin bin/tenure
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// wholeLimit bounds the demo, so that a hanging one is a failing one.
const wholeLimit = 5 * time.Minute

var errInterrupted = errors.New("interrupted")

func main() {
	bin := flag.String("bin", "bin/tenure", "the program to show")
	flag.Parse()
	os.Exit(demo(*bin, os.Stdout))
}

// demo answers with the exit code. It is one straight line on purpose: what is begun is ended below, whatever happens.
func demo(bin string, out io.Writer) int {
	// A reader that leaves is no reason to leave a server behind.
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := context.WithTimeoutCause(context.Background(), wholeLimit, fmt.Errorf("it took longer than %s", wholeLimit))
	defer cancel()
	ctx, interrupt := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		interrupt(errInterrupted)
	}()

	s, err := newStage(bin, out)
	if err != nil {
		fmt.Fprintln(out, "demo failed:", err)
		return 1
	}
	err = s.perform(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		fmt.Fprintln(out, "\ndemo failed:", err)
		s.tail()
	}
	if left := s.clear(); left != nil {
		fmt.Fprintln(out, "\ndemo failed:", left)
		err = errors.Join(err, left)
	}
	switch {
	case errors.Is(err, errInterrupted):
		return 130
	case err != nil:
		return 1
	}
	fmt.Fprintln(out, "demo ok")
	return 0
}

// perform is what there is to see.
func (s *stage) perform(ctx context.Context) error {
	began := time.Now()
	s.say("Start what the environments need: an SSH server, and a Docker engine where that is possible")
	if err := s.setUp(ctx); err != nil {
		return err
	}
	s.say("Start a server, with a Postgres of its own")
	if err := s.startServer(ctx); err != nil {
		return err
	}
	s.say("Add a company and its environments")
	if err := s.tenure(ctx, "company", "add", "acme"); err != nil {
		return err
	}
	if err := s.addPlaces(ctx); err != nil {
		return err
	}
	s.say("Lease the environment, build and test a Go module in it, give it back")
	if err := s.buildModule(ctx); err != nil {
		return err
	}
	s.say("Run one command in every environment, and see what a client waits for")
	if err := s.compare(ctx); err != nil {
		return err
	}
	s.say("What happened in the first lease, from the log")
	lease, err := s.answer(ctx, "lease", "list", "--run", runID, "-o", "name")
	if err != nil {
		return err
	}
	if err := s.tenure(ctx, "lease", "events", lease, "-o", "wide"); err != nil {
		return err
	}
	s.say("Rebuild a read model from the log")
	if err := s.tenure(ctx, "projection", "rebuild", "leases"); err != nil {
		return err
	}
	if err := s.tenure(ctx, "lease", "list"); err != nil {
		return err
	}
	s.say("Stop, and look for what is left behind")
	if err := s.nothingRuns(); err != nil {
		return err
	}
	if err := s.stopServer(); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "the server is down; all took %s\n", time.Since(began).Round(100*time.Millisecond))
	return nil
}

// nothingRuns checks, while the server is still up, that the runtime's directory went with the lease.
func (s *stage) nothingRuns() error {
	entries, err := os.ReadDir(filepath.Join(s.dir, "data", "runtimes"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("look at the runtimes: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("the lease left %s behind", entries[0].Name())
	}
	return nil
}
