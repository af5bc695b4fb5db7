package fake

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake/program"
)

// Options of a worker.
type Options struct {
	// Dir holds the ledger and, if somebody put it there, script.json. It is made if it is missing.
	Dir string
	// Wire is where junk is written; nil writes none. It must be the very writer that replies go through, or one that takes
	// its turns with it.
	Wire io.Writer
	// Exit ends the process; nil is os.Exit.
	Exit func(code int)
	// Now is the clock of the ledger; nil is time.Now.
	Now func() time.Time
}

// World is what the drivers of one worker have in common: the ledger, the script and the commands that run.
type World struct {
	opts   Options
	ledger *ledger
	over   chan struct{}
	close  sync.Once

	mu    sync.Mutex
	runs  map[*program.Run]string // with the names of their runtimes
	begun int                     // commands so far, for the ids of their processes
}

// Open opens a worker's directory.
func Open(opts Options) (*World, error) {
	if opts.Dir == "" {
		return nil, errors.New("fake: option Dir: names no directory")
	}
	if opts.Exit == nil {
		opts.Exit = os.Exit
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	led, err := openLedger(opts.Dir, opts.Now)
	if err != nil {
		return nil, fmt.Errorf("fake: %w", err)
	}
	return &World{opts: opts, ledger: led, over: make(chan struct{}), runs: make(map[*program.Run]string)}, nil
}

// Close ends every command and every call that is silent. What is in the ledger stays.
func (w *World) Close() (err error) {
	w.close.Do(func() {
		close(w.over)
		w.endRuns("", "worker_ended")
		err = w.ledger.Close()
	})
	return err
}

// Kill is the end of the worker's process without one: when it returns, nothing of this world writes the ledger any more,
// and no command runs. What is said after it is not meant to be heard.
func (w *World) Kill() {
	_ = w.ledger.Close() // an update that is under way has ended by then
	_ = w.Close()
}

// Driver is the provider of one class: fake, fake-listable or fake-blind.
func (w *World) Driver(class drivers.Class) *Driver { return &Driver{world: w, class: class} }

// Drivers are all three by their key.
func (w *World) Drivers() map[string]drivers.Driver {
	all := make(map[string]drivers.Driver, 3)
	for _, class := range []drivers.Class{drivers.ClassIdempotent, drivers.ClassListable, drivers.ClassBlind} {
		all[KeyOf(class)] = w.Driver(class)
	}
	return all
}

// KeyOf is the driver's key for a class.
func KeyOf(class drivers.Class) string {
	switch class {
	case drivers.ClassListable:
		return "fake-listable"
	case drivers.ClassBlind:
		return "fake-blind"
	case drivers.ClassIdempotent:
	}
	return "fake"
}

// junk writes what a step says between two replies.
func (w *World) junk(s Step) error {
	if w.opts.Wire == nil {
		return nil
	}
	text := s.Message
	if text == "" {
		text = "fake: this is no reply"
	}
	const chunk = 1 << 20
	piece := []byte(text)
	for s.Bytes > 0 && len(piece) < min(chunk, s.Bytes) {
		piece = append(piece, text...)
	}
	for left := max(s.Bytes, len(text)); left > 0; left -= len(piece) {
		piece = piece[:min(left, len(piece))]
		if left == len(piece) && !s.Raw {
			piece = append(piece, '\n')
			left++
		}
		if _, err := w.opts.Wire.Write(piece); err != nil {
			return fmt.Errorf("fake: write junk: %w", err)
		}
	}
	return nil
}
