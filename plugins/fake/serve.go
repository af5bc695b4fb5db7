package fake

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/sdk"
)

// Version is the provider's own.
const Version = "1.0.0"

// Manifest is what the plugin says of itself.
func Manifest() sdk.Manifest {
	about := func(name, what string) sdk.DriverManifest {
		return sdk.DriverManifest{DisplayName: name, Description: what, ConfigSchema: json.RawMessage(ConfigSchema)}
	}
	return sdk.Manifest{
		ID: "tenure.fake", Version: Version, DisplayName: "Fake", Author: "Tenure",
		Description: "A deterministic provider for tests: runtimes are lines in a ledger, and what goes wrong is written in a script.",
		Drivers: map[string]sdk.DriverManifest{
			KeyOf(drivers.ClassIdempotent): about("Fake", "makes one runtime for one id, however often it is asked"),
			KeyOf(drivers.ClassListable):   about("Fake (listable)", "makes a runtime on each call and finds them by label"),
			KeyOf(drivers.ClassBlind):      about("Fake (blind)", "makes a runtime on each call and knows it by its own name only"),
		},
	}
}

// Plugin is the provider as a plugin.
func (w *World) Plugin() sdk.Plugin {
	return sdk.Plugin{Manifest: Manifest(), Drivers: w.Drivers(), Closed: w.Close}
}

// ManifestJSON is the manifest as JSON. It opens nothing.
func ManifestJSON() ([]byte, error) {
	return sdk.Plugin{Manifest: Manifest(), Drivers: (&World{}).Drivers()}.ManifestJSON()
}

// Serve is the worker: it serves the provider on the process's standard input and output, with its ledger in dir.
func Serve(ctx context.Context, dir string) error {
	wire, err := sdk.TakeStdio()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT)
	defer stop()
	world, err := Open(Options{Dir: dir})
	if err != nil {
		return err
	}
	return world.ServeOn(ctx, wire.In, wire.Out)
}

// ServeOn is Serve on any pipe, without signals. Junk goes there as well.
func (w *World) ServeOn(ctx context.Context, in io.Reader, out io.Writer) error {
	taken := &turns{w: out}
	w.opts.Wire = taken.others()
	begun, err := w.begin(VerbStart, "worker", config{})
	if err == nil {
		err = begun.run(ctx)
	}
	if err != nil {
		return fmt.Errorf("fake: start: %w", err)
	}
	return sdk.ServeOn(ctx, w.Plugin(), in, taken)
}

// run takes every step of a call that has no work of its own.
func (c *call) run(ctx context.Context) error {
	for _, p := range []Place{PlaceBefore, PlaceAfter, PlaceReply} {
		if err := c.at(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// turns lets junk onto the wire between two messages only, unless it is meant to tear one: a message is written in pieces,
// and the last one ends its line.
type turns struct {
	w      io.Writer
	mu     sync.Mutex
	within bool // the message of the connection that is being written, whose turn it is
}

// Write is for the connection, which writes from one goroutine.
func (t *turns) Write(p []byte) (int, error) {
	if !t.within {
		t.mu.Lock()
		t.within = true
	}
	n, err := t.w.Write(p)
	if err != nil || bytes.HasSuffix(p, []byte("\n")) && n == len(p) {
		t.within = false
		t.mu.Unlock()
	}
	return n, err
}

// others is for everybody else.
func (t *turns) others() io.Writer { return between{t} }

type between struct{ t *turns }

func (b between) Write(p []byte) (int, error) {
	b.t.mu.Lock()
	defer b.t.mu.Unlock()
	return b.t.w.Write(p)
}
