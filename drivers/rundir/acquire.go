package rundir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/internal/atomicfile"
	"github.com/tenure-dev/tenure/eventstore/faults"
)

// marker says whose a runtime is.
type marker struct {
	RuntimeID    string `json:"runtimeId"`
	Installation string `json:"installation"`
	Epoch        int64  `json:"epoch"`
	LeaseID      string `json:"leaseId"`
	Fence        int64  `json:"fence"`
	// Kept says that nobody has it, see [drivers.Hold].
	Kept bool `json:"kept,omitempty"`
	// Identity tells it from any other that is ever made under this id.
	Identity  string    `json:"identity"`
	CreatedAt time.Time `json:"createdAt"`
}

func (m marker) hold() drivers.Hold { return drivers.Hold{Fence: m.Fence, Kept: m.Kept} }

// errBadMarker says that what is there cannot be read: no Acquire of ours wrote it.
var errBadMarker = errors.New("the marker is damaged")

func readMarker(path string) (marker, error) {
	var m marker
	b, err := os.ReadFile(path)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("read %s: %w: %w", path, errBadMarker, err)
	}
	return m, nil
}

// Acquired says what an Acquire came to.
type Acquired struct {
	// Resumed says that an earlier call made the runtime.
	Resumed bool
	// Identity tells it from every other, for its metadata.
	Identity string
}

// Acquire makes the runtime of req, or finds the one that an earlier call with this id made. Its error is a
// [*drivers.Failure], or ctx's cause.
func (d *Dir) Acquire(ctx context.Context, req drivers.AcquireRequest) (Acquired, error) {
	if err := CheckID(req.RuntimeID); err != nil {
		return Acquired{}, err
	}
	if err := ctx.Err(); err != nil {
		return Acquired{}, context.Cause(ctx)
	}
	l := d.Layout(req.RuntimeID)
	// A second round only if a Release or another Acquire came between.
	for range 3 {
		identity, found, err := d.find(ctx, l, req)
		if found || err != nil {
			return Acquired{Resumed: found, Identity: identity}, err
		}
		identity = drivers.NewIdentity()
		err = d.make(l, req, identity)
		if err == nil {
			return Acquired{Identity: identity}, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return Acquired{}, failed("make_workspace", err)
		}
	}
	return Acquired{}, failed("make_workspace", errors.New("the directory keeps changing"))
}

// find finds the runtime that an earlier Acquire of this id made.
func (d *Dir) find(ctx context.Context, l Layout, req drivers.AcquireRequest) (identity string, found bool, err error) {
	unlock, err := d.lock(ctx, l, unix.LOCK_EX)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, notLocked(ctx, err)
	}
	defer unlock()
	m, err := readMarker(l.Marker)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, failed("read_marker", err)
	}
	refused := func(code, why string) error {
		return &drivers.Failure{
			Outcome: drivers.OutcomeAmbiguous, Code: code, Step: "read_marker", Err: errors.New(why),
			Remediation: "look at " + l.Marker + " and remove the runtime if nobody needs it",
		}
	}
	switch {
	case m.Installation != req.Installation:
		return "", false, refused("foreign_runtime", "a runtime of this id belongs to another installation")
	case m.Fence > req.Fence:
		return "", false, refused(drivers.CodeStaleFence, fmt.Sprintf("the runtime is held with fence %d, newer than %d", m.Fence, req.Fence))
	case m.Fence == req.Fence && m.Kept:
		return "", false, refused(drivers.CodeStaleFence, "the runtime was given back by this holder")
	case m.Fence == req.Fence:
		return m.Identity, true, nil
	}
	m.Fence, m.LeaseID, m.Epoch, m.Kept = req.Fence, req.LeaseID, req.Epoch, false
	if err := writeMarker(l.Marker, m); err != nil {
		return "", false, failed("write_marker", err)
	}
	return m.Identity, true, nil
}

func writeMarker(path string, m marker) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, b, 0o600)
}

// make builds the whole directory under another name and renames it: a crash leaves nothing under the runtime's name.
func (d *Dir) make(l Layout, req drivers.AcquireRequest, identity string) (err error) {
	dir, err := os.MkdirTemp(d.opts.Root, ".new-"+req.RuntimeID+"-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	n := layoutOf(dir)
	for _, own := range []string{n.Workspace, n.Tmp} {
		if err := os.Mkdir(own, 0o700); err != nil {
			return err
		}
		if c := d.opts.Credential; c != nil {
			if err := os.Chown(own, int(c.UID), int(c.GID)); err != nil {
				return err
			}
		}
	}
	if err := writeMarker(n.Marker, marker{
		RuntimeID: req.RuntimeID, Installation: req.Installation, Epoch: req.Epoch, LeaseID: req.LeaseID, Fence: req.Fence,
		Identity: identity, CreatedAt: time.Now().UTC(),
	}); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return err
	}
	faults.Point("local.acquire.built")
	if err := unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, l.Dir, unix.RENAME_NOREPLACE); err != nil {
		return fmt.Errorf("rename into place: %w", err)
	}
	faults.Point("local.acquire.placed")
	return atomicfile.SyncDir(d.opts.Root)
}

// failed is a failure after which the same request may be made again.
func failed(step string, err error) error {
	f := &drivers.Failure{
		Outcome: drivers.OutcomeRetryable, Code: "io_error", Step: step, Err: err, Remediation: "see what is wrong with the disk of the engine's data directory",
	}
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		f.Code, f.Remediation = "disk_full", "free some space under the engine's data directory"
	case errors.Is(err, fs.ErrPermission):
		f.Code, f.Remediation = "permission_denied", "let the engine's user write to its data directory"
	}
	return f
}

// List returns the runtimes of an installation, with what a crashed Release left half removed.
func (d *Dir) List(installation string) ([]drivers.ListedRuntime, error) {
	entries, err := os.ReadDir(d.opts.Root)
	if err != nil {
		return nil, fmt.Errorf("list runtimes: %w", err)
	}
	seen := make(map[string]bool)
	var listed []drivers.ListedRuntime
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".new-") {
			continue
		}
		m, err := readMarker(filepath.Join(d.opts.Root, e.Name(), "marker.json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // not ours, or removed just now
		}
		if err != nil {
			return nil, fmt.Errorf("list runtimes: %w", err)
		}
		if m.Installation != installation || seen[m.RuntimeID] {
			continue
		}
		seen[m.RuntimeID] = true
		listed = append(listed, drivers.ListedRuntime{
			RuntimeID: m.RuntimeID, LeaseID: m.LeaseID, Epoch: m.Epoch, CreatedAt: m.CreatedAt,
		})
	}
	return listed, nil
}
