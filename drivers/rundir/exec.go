package rundir

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/execparent"
	"github.com/tenure-dev/tenure/eventstore/faults"
)

// Start runs a command in a runtime, unless that is gone, is being released, or is not held with this fence: it holds the lock
// from the look at the marker until the command runs. The parent is recorded before it is told
// what to run, so that a Release by another process finds it. prepare, if it is not nil, may still change the spec; no
// Release of this process comes between. The error is a [*drivers.StartError].
func (d *Dir) Start(
	ctx context.Context, runtimeID string, fence int64, spec execparent.Spec, prepare func(*execparent.Spec) error,
) (*execparent.Process, error) {
	if spec.JournalDir == "" {
		return nil, &drivers.StartError{Stage: "journal", Code: "journal_missing", Err: errors.New("no journal directory is given"), Remediation: "report it: this is a mistake of the engine"}
	}
	if err := d.active.BeginStart(runtimeID); err != nil {
		return nil, err
	}
	started, err := d.start(ctx, d.Layout(runtimeID), fence, spec, prepare)
	d.active.EndStart(runtimeID, started)
	return started, err
}

func (d *Dir) start(
	ctx context.Context, l Layout, fence int64, spec execparent.Spec, prepare func(*execparent.Spec) error,
) (*execparent.Process, error) {
	unlock, err := d.lock(ctx, l, unix.LOCK_SH)
	if err != nil {
		return nil, notEntered(ctx, err)
	}
	defer unlock()
	m, err := readMarker(l.Marker)
	if err != nil {
		return nil, notEntered(ctx, err)
	}
	if err := m.hold().Admit(fence); err != nil {
		return nil, err
	}
	faults.Point("local.exec.admitted")
	if prepare != nil {
		if err := prepare(&spec); err != nil {
			return nil, err
		}
	}
	var record string
	return execparent.Start(ctx, execparent.Options{
		Command: d.opts.ParentCommand,
		Spawned: func(parent drivers.Process) error {
			b, err := json.Marshal(parent)
			if err != nil {
				return err
			}
			faults.Point("local.exec.spawned")
			record = l.record(parent)
			// Not synced: a machine that loses it has lost the parent as well. Half a record is of a parent that a crash of
			// this process ended before it was told anything.
			return os.WriteFile(record, b, 0o600)
		},
		Ended: func(alone bool) {
			if alone && record != "" {
				_ = os.Remove(record)
			}
		},
	}, spec)
}

// notEntered is the error of a command whose runtime cannot be looked at.
func notEntered(ctx context.Context, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &drivers.StartError{Stage: "runtime", Code: "runtime_gone", Remediation: "acquire a new lease", Err: drivers.ErrGone}
	}
	if errors.Is(err, errBusy) || ctx.Err() != nil {
		return drivers.NotStarted("runtime", "runtime_busy", notLocked(ctx, err))
	}
	return &drivers.StartError{Stage: "runtime", Code: "runtime_unreadable", Remediation: "acquire a new lease", Err: err}
}
