package rundir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
)

// Who has a runtime is in its marker, and whoever reads it to act on it holds the lock of the runtime's directory: a start of a
// command shared, from the look at the marker until the command runs; Acquire, Keep, Resume and Release alone, until they are
// done. The kernel drops the lock of a process that dies. One that is stopped keeps it, and what needs it fails as busy until
// it goes on or is ended: nothing else can tell that it does not go on in the middle of a start.

// lockLimit bounds the wait for a lock.
const lockLimit = endLimit

// errBusy is why a lock was not got in time.
var errBusy = errors.New("another process is at work on the runtime")

// lock takes the lock of a runtime's directory, unix.LOCK_SH or unix.LOCK_EX. [fs.ErrNotExist] says that there is none.
func (d *Dir) lock(ctx context.Context, l Layout, how int) (unlock func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lockLimit, fmt.Errorf("%w for %s", errBusy, lockLimit))
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		unlock, err := tryLock(l.Dir, how)
		if unlock != nil || err != nil {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// tryLock returns nothing if another process has the lock, or has just moved the directory away.
func tryLock(dir string, how int) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
			return nil, nil
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	unlock = func() {
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN) // not by the close alone: a child between fork and exec has it open
		_ = f.Close()
	}
	locked, err1 := f.Stat()
	named, err2 := os.Lstat(dir)
	if err := errors.Join(err1, err2); err != nil {
		unlock()
		return nil, err
	}
	if !os.SameFile(locked, named) {
		unlock()
		return nil, nil
	}
	return unlock, nil
}

// notLocked is the failure of a verb that did not get the lock.
func notLocked(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, errBusy) {
		return &drivers.Failure{
			Outcome: drivers.OutcomeRetryable, Code: "runtime_busy", Step: "lock", Err: err,
			Remediation: "wait until it is done; if it is stopped, let it go on or end it",
		}
	}
	return failed("lock", err)
}

// quiet lets no command of this process start until done is called, and waits for those that just do.
func (d *Dir) quiet(ctx context.Context, runtimeID string) (done func(), err error) {
	idle := d.active.BeginRelease(runtimeID)
	select {
	case <-idle:
		return func() { d.active.EndRelease(runtimeID) }, nil
	case <-ctx.Done():
		d.active.EndRelease(runtimeID)
		return nil, context.Cause(ctx)
	}
}

// hold is the marker of a runtime that is the one that was meant. The lock is held. Its error is [drivers.ErrMismatch], or a
// [*drivers.Failure].
func (l Layout) hold(installation string, metadata []byte) (marker, error) {
	m, err := readMarker(l.Marker)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return m, fmt.Errorf("%w: %s has no marker", drivers.ErrMismatch, l.Dir)
	case errors.Is(err, errBadMarker):
		return m, fmt.Errorf("%w: %w", drivers.ErrMismatch, err)
	case err != nil:
		return m, failed("read_marker", err)
	case m.Installation != installation:
		return m, fmt.Errorf("%w: %s is another installation's", drivers.ErrMismatch, l.Dir)
	case m.Identity != drivers.IdentityOf(metadata):
		return m, fmt.Errorf("%w: %s was made anew", drivers.ErrMismatch, l.Dir)
	}
	return m, nil
}

// Keep ends what runs in a runtime and lets nothing start until it is resumed. quiet, if it is not nil, is called then: it ends
// what a driver has beside the directory.
func (d *Dir) Keep(ctx context.Context, req drivers.KeepRequest, quiet func(context.Context) error) error {
	if err := CheckID(req.RuntimeID); err != nil {
		return err
	}
	done, err := d.quiet(ctx, req.RuntimeID)
	if err != nil {
		return err
	}
	defer done()
	l := d.Layout(req.RuntimeID)
	unlock, err := d.lock(ctx, l, unix.LOCK_EX)
	if errors.Is(err, fs.ErrNotExist) {
		return d.gone(ctx, req.RuntimeID)
	}
	if err != nil {
		return notLocked(ctx, err)
	}
	defer unlock()
	m, err := l.hold(req.Installation, req.Metadata)
	if errors.Is(err, drivers.ErrMismatch) {
		if err := d.endCommands(ctx, req.RuntimeID); err != nil {
			return stillRunning(err)
		}
		return drivers.Lost(err)
	}
	if err != nil {
		return err
	}
	if err := m.hold().Yields(req.Fence); err != nil {
		return err
	}
	if !m.Kept || m.Fence != req.Fence {
		m.Fence, m.Kept = req.Fence, true
		if err := writeMarker(l.Marker, m); err != nil {
			return failed("write_marker", err)
		}
	}
	if err := d.endAll(ctx, req.RuntimeID, l); err != nil {
		return err
	}
	if quiet != nil {
		return quiet(ctx)
	}
	return nil
}

// Resume gives a runtime to the holder of req and returns its identity. ready, if it is not nil, makes what a driver needs beside
// the directory, before anything can start.
func (d *Dir) Resume(ctx context.Context, req drivers.ResumeRequest, ready func() error) (identity string, err error) {
	if err := CheckID(req.RuntimeID); err != nil {
		return "", err
	}
	done, err := d.quiet(ctx, req.RuntimeID)
	if err != nil {
		return "", err
	}
	defer done()
	l := d.Layout(req.RuntimeID)
	unlock, err := d.lock(ctx, l, unix.LOCK_EX)
	if errors.Is(err, fs.ErrNotExist) {
		return "", d.gone(ctx, req.RuntimeID)
	}
	if err != nil {
		return "", notLocked(ctx, err)
	}
	defer unlock()
	m, err := l.hold(req.Installation, req.Metadata)
	if err != nil {
		return "", err
	}
	if err := m.hold().Yields(req.Fence); err != nil {
		return "", err
	}
	if m.Fence == req.Fence && !m.Kept {
		return m.Identity, nil
	}
	// Older holders are shut out first, and this one let in last: a crash in between leaves it to be resumed again.
	m.Fence, m.LeaseID, m.Epoch, m.Kept = req.Fence, req.LeaseID, req.Epoch, true
	if err := writeMarker(l.Marker, m); err != nil {
		return "", failed("write_marker", err)
	}
	if err := d.endAll(ctx, req.RuntimeID, l); err != nil {
		return "", err
	}
	if ready != nil {
		if err := ready(); err != nil {
			return "", err
		}
	}
	m.Kept = false
	if err := writeMarker(l.Marker, m); err != nil {
		return "", failed("write_marker", err)
	}
	return m.Identity, nil
}

// endAll ends every command and process of a runtime. The lock is held.
func (d *Dir) endAll(ctx context.Context, runtimeID string, l Layout) error {
	if err := d.endCommands(ctx, runtimeID); err != nil {
		return stillRunning(err)
	}
	if err := d.endOthers(ctx, runtimeID, l); err != nil {
		return stillRunning(err)
	}
	return nil
}

// gone is the error for a runtime without a directory, once nothing of it runs any more. That nothing can be seen of any runtime
// is no proof.
func (d *Dir) gone(ctx context.Context, runtimeID string) error {
	if _, err := os.Stat(d.opts.Root); err != nil {
		return failed("find_runtime", err)
	}
	if err := d.endAll(ctx, runtimeID, d.Layout(runtimeID)); err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", d.Layout(runtimeID).Dir, drivers.ErrGone)
}
