package rundir

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/execparent"
	"github.com/tenure-dev/tenure/eventstore/faults"
)

// Start runs a command in a runtime, unless that is gone or is being released. The parent is recorded before it is told
// what to run, so that a Release by another process finds it. prepare, if it is not nil, may still change the spec; no
// Release of this process comes between. The error is a [*drivers.StartError].
func (d *Dir) Start(
	ctx context.Context, runtimeID string, spec execparent.Spec, prepare func(*execparent.Spec) error,
) (*execparent.Process, error) {
	if spec.JournalDir == "" {
		return nil, &drivers.StartError{Stage: "journal", Code: "journal_missing", Err: errors.New("no journal directory is given"), Remediation: "report it: this is a mistake of the engine"}
	}
	if err := d.active.BeginStart(runtimeID); err != nil {
		return nil, err
	}
	started, err := d.start(ctx, d.Layout(runtimeID), spec, prepare)
	d.active.EndStart(runtimeID, started)
	return started, err
}

func (d *Dir) start(
	ctx context.Context, l Layout, spec execparent.Spec, prepare func(*execparent.Spec) error,
) (*execparent.Process, error) {
	if _, err := os.Lstat(l.Marker); err != nil {
		code := "runtime_unreadable"
		if errors.Is(err, fs.ErrNotExist) {
			code, err = "runtime_gone", drivers.ErrGone
		}
		return nil, &drivers.StartError{Stage: "runtime", Code: code, Remediation: "acquire a new lease", Err: err}
	}
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
