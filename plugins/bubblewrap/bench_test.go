package bubblewrap

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
)

// BenchmarkCreateToFirstExit is a runtime from nothing to the exit of its first command, its release not counted.
func BenchmarkCreateToFirstExit(b *testing.B) {
	dir, err := os.MkdirTemp("/var/tmp", "tenure-bwrap-bench-") //nolint:usetesting // another user passes through it
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		b.Fatal(err)
	}
	d, err := New(options(filepath.Join(dir, "runtimes")))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		req := driverstest.AcquireRequest(features())
		rt, err := d.Acquire(b.Context(), req)
		if err != nil {
			b.Fatal(err)
		}
		handle := driverstest.HandleOf(req, rt)
		e, err := d.StartExec(b.Context(), drivers.ExecRequest{
			Handle: handle, Argv: []string{"true"}, JournalDir: filepath.Join(dir, uuid.NewString()),
		})
		if err != nil {
			b.Fatal(err)
		}
		if result, err := e.Wait(b.Context()); err != nil || result.ExitCode != 0 {
			b.Fatal(result, err)
		}
		b.StopTimer()
		if err := d.Release(b.Context(), drivers.ReleaseRequest{Handle: handle}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
