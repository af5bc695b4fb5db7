package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/tenure-dev/tenure/drivers"
)

// Driver makes runtimes under one directory of this machine.
type Driver struct {
	opts   Options
	census census

	mu     sync.Mutex
	active map[string]*activity // by runtime id
}

// New returns a driver and makes its root.
func New(opts Options) (*Driver, error) {
	opts = opts.Defaults()
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("driver local: %w", err)
	}
	opts.Root = filepath.Clean(opts.Root)
	// Commands of another user pass through the root to their workspace; they cannot list it.
	if err := os.MkdirAll(opts.Root, 0o711); err != nil {
		return nil, fmt.Errorf("driver local: make the directory of the runtimes: %w", err)
	}
	if err := os.Chmod(opts.Root, 0o711); err != nil {
		return nil, fmt.Errorf("driver local: %w", err)
	}
	if opts.credential() != nil {
		if err := traversable(opts.Root); err != nil {
			return nil, fmt.Errorf("driver local: %w", err)
		}
	}
	return &Driver{opts: opts, active: make(map[string]*activity)}, nil
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

// Describe implements [drivers.Driver].
func (d *Driver) Describe() drivers.Description {
	isolation := "none"
	if d.opts.credential() != nil {
		isolation = "uid"
	}
	return drivers.Description{
		Name: "local", Provider: "local", Class: drivers.ClassIdempotent, Isolation: isolation, NodeBound: true,
		Capabilities: drivers.Capabilities{Exec: true, List: true, CheckConfig: true},
	}
}

// CheckConfig implements [drivers.ConfigChecker].
func (d *Driver) CheckConfig(config json.RawMessage) error {
	_, err := decodeConfig(config)
	return err
}

// layout are the paths of one runtime.
type layout struct{ dir, marker, parents, workspace, tmp string }

func (d *Driver) layout(runtimeID string) layout {
	return layoutOf(filepath.Join(d.opts.Root, runtimeID))
}

func layoutOf(dir string) layout {
	return layout{
		dir: dir, marker: filepath.Join(dir, "marker.json"), parents: filepath.Join(dir, "parents"),
		workspace: filepath.Join(dir, "workspace"), tmp: filepath.Join(dir, "tmp"),
	}
}

// checkRuntimeID refuses an id that is not the name of one directory.
func checkRuntimeID(id string) error {
	if id == "" || len(id) > 200 || id[0] == '.' || strings.ContainsAny(id, "/\x00") {
		return &drivers.Failure{
			Outcome: drivers.OutcomeDefinite, Code: "bad_runtime_id", Step: "check_id",
			Remediation: "use an id of 1 to 200 bytes without '/', NUL and a leading '.'",
			Err:         errors.New("the runtime id is not usable as the name of a directory"),
		}
	}
	return nil
}

var (
	_ drivers.Driver        = (*Driver)(nil)
	_ drivers.Executor      = (*Driver)(nil)
	_ drivers.Lister        = (*Driver)(nil)
	_ drivers.ConfigChecker = (*Driver)(nil)
)
