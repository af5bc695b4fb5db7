// Package rundir keeps the runtimes of a driver that makes them on this machine: one directory for each, which appears
// complete or not at all, and the processes that work in it.
//
//	ROOT/<runtime id>/          0711  renamed into place, so that a repeated Acquire finds it or makes it
//	    marker.json             0600  whose it is: installation, epoch, lease, fence, whether it is kept, identity
//	    parent-*.json           0600  one for each exec parent that lives, or that did not see the end of its command
//	    workspace/              0700  of the command's user
//	    tmp/                    0700  of the command's user
//	ROOT/.new-<runtime id>-*    an Acquire that did not finish
//	ROOT/.gone-<runtime id>-*   a Release that did not finish; still listed, since its marker goes last
//
// Comparing the fence in the marker and acting on it are one step, under a lock on the directory (hold.go). The directory and
// the marker are out of reach of commands that run as another user or in a sandbox; a command of the engine's own user could
// change both, as it could change anything else of the engine's.
//
// Release ends every process of the runtime: those under an exec parent, and whatever else has the runtime's id in its
// environment ([RuntimeVar]) or works below its directory. That means to look at all processes of the machine; where commands
// are contained ([Options.Contained]) it is not done for a runtime without a record: whatever ran in it is known to have ended.
package rundir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/activity"
	"github.com/tenure-dev/tenure/drivers/execparent"
)

// RuntimeVar marks every process of a runtime. A request cannot change it: Release looks for it.
const RuntimeVar = "TENURE_RUNTIME_ID"

// Options of a Dir.
type Options struct {
	// Root holds the runtimes. It is absolute, and made if it is missing.
	Root string
	// ParentCommand starts a process that calls execparent.Main: a program and its arguments.
	ParentCommand []string
	// Credential is whom commands run as; nil is this process's own user.
	Credential *execparent.Credential
	// Grace is the longest that a command may take to end in order.
	Grace time.Duration
	// Contained says that commands start nothing that their exec parents do not see end, as in a sandbox. Then a Release looks
	// for other processes only if something happened to a parent.
	Contained bool
}

// Dir is the runtimes under one directory. Methods are safe for concurrent use.
type Dir struct {
	opts   Options
	census census

	active activity.Runtimes[*execparent.Process]
}

// Open makes the root and returns its runtimes.
func Open(opts Options) (*Dir, error) {
	opts.Root = filepath.Clean(opts.Root)
	// Commands of another user pass through the root to their workspace; they cannot list it.
	if err := os.MkdirAll(opts.Root, 0o711); err != nil {
		return nil, fmt.Errorf("make the directory of the runtimes: %w", err)
	}
	if err := os.Chmod(opts.Root, 0o711); err != nil {
		return nil, err
	}
	if opts.Credential != nil {
		if err := traversable(opts.Root); err != nil {
			return nil, err
		}
	}
	return &Dir{opts: opts}, nil
}

// traversable names the first directory above the workspaces that their user could not pass.
func traversable(dir string) error {
	var above []string
	for ; ; dir = filepath.Dir(dir) {
		above = append(above, dir)
		if dir == filepath.Dir(dir) {
			break
		}
	}
	for i := len(above) - 1; i >= 0; i-- {
		info, err := os.Stat(above[i])
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("the user of the commands cannot pass %s (mode %04o): run chmod o+x %[1]s, or put the data elsewhere",
				above[i], info.Mode().Perm())
		}
	}
	return nil
}

// Root is the directory of the runtimes.
func (d *Dir) Root() string { return d.opts.Root }

// Layout are the paths of one runtime.
type Layout struct{ Dir, Marker, Workspace, Tmp string }

// Layout returns the paths of a runtime, whether it exists or not. The id must be one that [CheckID] takes.
func (d *Dir) Layout(runtimeID string) Layout {
	return layoutOf(filepath.Join(d.opts.Root, runtimeID))
}

func layoutOf(dir string) Layout {
	return Layout{
		Dir: dir, Marker: filepath.Join(dir, "marker.json"),
		Workspace: filepath.Join(dir, "workspace"), Tmp: filepath.Join(dir, "tmp"),
	}
}

// record is the file of an exec parent. No other has the name as long as the machine runs.
func (l Layout) record(parent drivers.Process) string {
	return filepath.Join(l.Dir, fmt.Sprintf("%s%d-%d.json", recordPrefix, parent.PID, parent.StartTime))
}

const recordPrefix = "parent-"

// records are the files of all exec parents. A runtime that is gone has none.
func (l Layout) records() ([]string, error) {
	entries, err := os.ReadDir(l.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), recordPrefix) {
			paths = append(paths, filepath.Join(l.Dir, e.Name()))
		}
	}
	return paths, nil
}

// CheckID refuses an id that is not the name of one directory.
func CheckID(id string) error {
	if id == "" || len(id) > 200 || id[0] == '.' || strings.ContainsAny(id, "/\x00") {
		return &drivers.Failure{
			Outcome: drivers.OutcomeDefinite, Code: "bad_runtime_id", Step: "check_id",
			Remediation: "use an id of 1 to 200 bytes without '/', NUL and a leading '.'",
			Err:         errors.New("the runtime id is not usable as the name of a directory"),
		}
	}
	return nil
}
