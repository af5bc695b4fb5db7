// Package dockertest runs a Docker engine for the tests of one binary, with images of their own and with registries that may be
// had. Nothing of it is left when the tests have ended.
package dockertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/plugins/docker/dockertest/engine"
)

// Engine is a Docker engine that runs.
type Engine struct {
	*engine.Engine
	// Inner is the static program for its containers.
	Inner string
}

// The images of an [Engine].
const (
	// Image has a shell and the usual programs, a user worker (1234, group 2345) and no /tmp.
	Image = engine.Tools
	// Bare has a single static program, /echo, and nothing else.
	Bare = "tenure-test/bare:1"
	// Rich declares variables, a user, a volume, a directory and a health check.
	Rich = "tenure-test/rich:1"
)

// Main is the TestMain of a package whose tests need an engine. *to is set before the tests begin.
func Main(m *testing.M, to **Engine) {
	if os.Getenv(driverstest.MarkerName) == "" {
		// As driverstest.Main does it.
		err := unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), driverstest.MarkerName+"="+driverstest.Marker))
		panic(err)
	}
	os.Exit(run(m, to))
}

func run(m *testing.M, to **Engine) (code int) {
	e, err := Start(context.Background(), WithBridge)
	if err != nil {
		fmt.Fprintln(os.Stderr, "dockertest:", err)
		return 1
	}
	defer func() {
		if err := e.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "dockertest:", err)
			code = 1
		}
	}()
	*to = e
	code = m.Run()
	if left, err := e.Left(context.Background(), ""); err != nil || len(left) > 0 {
		fmt.Fprintln(os.Stderr, "dockertest: the tests left", left, err)
		code = max(code, 1)
	}
	return code
}

// The networks of an engine.
const (
	WithBridge = engine.WithBridge
	NoBridge   = engine.NoBridge
)

// Start runs an engine with the test images in it.
func Start(ctx context.Context, network engine.Network) (_ *Engine, err error) {
	// Not t.TempDir: a socket's path must be short, and the engine outlives single tests.
	e := &Engine{}
	if e.Engine, err = engine.Start(ctx, engine.Options{Parent: "/var/tmp", Network: network}); err != nil {
		return nil, err
	}
	e.Inner = filepath.Join(e.Dir, "inner")
	if err := errors.Join(engine.BuildInner(ctx, e.Inner), e.importImages(ctx)); err != nil {
		return nil, errors.Join(err, e.Stop())
	}
	return e, nil
}

func (e *Engine) importImages(ctx context.Context) error {
	tools, err := engine.ToolFiles(ctx)
	if err != nil {
		return err
	}
	program := tools[slices.IndexFunc(tools, func(f engine.File) bool { return f.Name == "bin/busybox" })]
	return errors.Join(
		e.Import(ctx, Image, tools),
		e.Import(ctx, Bare, []engine.File{{Name: "echo", Mode: 0o755, Data: program.Data}}),
		e.Import(ctx, Rich, slices.Concat(tools, []engine.File{
			{Name: "workspace/", Mode: 0o700}, {Name: "workspace/of-the-image", Mode: 0o644},
			{Name: "opt/", Mode: 0o755}, {Name: "opt/rich/", Mode: 0o755}, {Name: "opt/rich/richtool", Mode: 0o755, Data: []byte("#!/bin/sh\necho rich\n")},
		}),
			"ENV PATH=/opt/rich:/bin", "ENV IMAGE_SETTING=from-the-image", "USER worker", "VOLUME /data", "WORKDIR /nowhere",
			`ENTRYPOINT ["/bin/false"]`, `HEALTHCHECK CMD ["/bin/false"]`),
	)
}
