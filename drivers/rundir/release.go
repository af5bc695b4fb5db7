package rundir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/internal/atomicfile"
	"github.com/tenure-dev/tenure/eventstore/faults"
)

// Release takes a runtime down; one that is gone is fine. It ends the runtime's processes, sets its directory aside so that
// nothing finds it any more, ends what was started meanwhile, and removes it, the marker last. A runtime with a newer fence is
// left alone; a fence of 0 is no holder's. quiet, if it is not nil, is
// called before anything is removed and once every process that was found has ended: it takes down what a driver has beside
// the directory.
func (d *Dir) Release(ctx context.Context, runtimeID string, fence int64, quiet func(context.Context) error) error {
	if err := CheckID(runtimeID); err != nil {
		return err
	}
	done, err := d.quiet(ctx, runtimeID)
	if err != nil {
		return err
	}
	defer done()
	if err := d.putAway(ctx, runtimeID, fence, quiet); err != nil {
		return err
	}
	faults.Point("local.release.aside")
	remains, err := d.remains(runtimeID)
	if err != nil {
		return failed("find_remains", err)
	}
	for _, dir := range remains {
		if err := d.endOthers(ctx, runtimeID, layoutOf(dir)); err != nil {
			return stillRunning(err)
		}
		if err := removeRuntime(dir); err != nil {
			return failed("remove_workspace", err)
		}
	}
	if len(remains) > 0 {
		if err := atomicfile.SyncDir(d.opts.Root); err != nil {
			return failed("remove_workspace", err)
		}
	}
	return nil
}

// putAway ends what runs in a runtime and sets its directory aside, under its lock.
func (d *Dir) putAway(ctx context.Context, runtimeID string, fence int64, quiet func(context.Context) error) error {
	l := d.Layout(runtimeID)
	unlock, err := d.lock(ctx, l, unix.LOCK_EX)
	gone := errors.Is(err, fs.ErrNotExist)
	if err != nil && !gone {
		return notLocked(ctx, err)
	}
	if !gone {
		defer unlock()
		// A marker that cannot be read keeps nobody out: the directory is ours to remove.
		if m, err := readMarker(l.Marker); err == nil && fence != 0 {
			if err := m.hold().Yields(fence); err != nil {
				return err
			}
		}
	}
	if err := d.endAll(ctx, runtimeID, l); err != nil {
		return err
	}
	if quiet != nil {
		if err := quiet(ctx); err != nil {
			return err
		}
	}
	faults.Point("local.release.quiet")
	if gone {
		return nil
	}
	if err := d.setAside(l, runtimeID); err != nil {
		return failed("set_aside", err)
	}
	return nil
}

// setAside renames the runtime's directory. A runtime that is gone is fine.
func (d *Dir) setAside(l Layout, runtimeID string) error {
	for n := 1; ; n++ {
		aside := filepath.Join(d.opts.Root, fmt.Sprintf(".gone-%s-%d", runtimeID, n))
		err := unix.Renameat2(unix.AT_FDCWD, l.Dir, unix.AT_FDCWD, aside, unix.RENAME_NOREPLACE)
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
			return nil
		case !errors.Is(err, unix.EEXIST):
			return fmt.Errorf("rename %s: %w", l.Dir, err)
		}
	}
}

// remains are the directories that this and earlier Releases set aside, and those of Acquires that did not finish.
func (d *Dir) remains(runtimeID string) ([]string, error) {
	entries, err := os.ReadDir(d.opts.Root)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		rest, gone := strings.CutPrefix(e.Name(), ".gone-"+runtimeID+"-")
		if !gone {
			var made bool
			if rest, made = strings.CutPrefix(e.Name(), ".new-"+runtimeID+"-"); !made {
				continue
			}
		}
		// Both names end with digits; an id that merely begins with this one has more in between.
		if strings.Trim(rest, "0123456789") == "" && e.IsDir() {
			found = append(found, filepath.Join(d.opts.Root, e.Name()))
		}
	}
	return found, nil
}

// removeRuntime removes a directory that was set aside. The marker goes last, so that half of one is still listed.
func removeRuntime(dir string) error {
	l := layoutOf(dir)
	parts, err := l.records()
	if err != nil {
		return err
	}
	for _, part := range append(parts, l.Workspace, l.Tmp) {
		if err := removeAll(part); err != nil {
			return err
		}
		faults.Point("local.release.part")
	}
	return removeAll(dir)
}

// removeAll removes a tree, also one whose directories forbid it. It follows no symbolic link.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil || !errors.Is(err, os.ErrPermission) {
		return err
	}
	// Only a user who is not root gets here; the directories are its own, so their modes can be mended.
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	err = unlock(root)
	return errors.Join(err, root.Close(), os.RemoveAll(dir))
}

// unlock lets the owner into every directory below root.
func unlock(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	entries, err := d.ReadDir(-1)
	if err := errors.Join(err, d.Close()); err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() { // a link to a directory is not one
			continue
		}
		if err := root.Chmod(e.Name(), 0o700); err != nil {
			return err
		}
		sub, err := root.OpenRoot(e.Name())
		if err != nil {
			return err
		}
		if err := errors.Join(unlock(sub), sub.Close()); err != nil {
			return err
		}
	}
	return nil
}

func stillRunning(err error) error {
	return &drivers.Failure{
		Outcome: drivers.OutcomeRetryable, Code: "processes_left", Step: "end_processes",
		Remediation: "the release is tried again; a process that does not end is stuck in the kernel", Err: err,
	}
}
