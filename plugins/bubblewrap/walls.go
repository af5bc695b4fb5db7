package bubblewrap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/rundir"
)

// Paths inside the sandbox.
const (
	workspacePath = "/workspace"
	tmpPath       = "/tmp"
)

// shmBytes bounds /dev/shm. What is in there counts as memory of the runtime as well.
const shmBytes = 64 << 20

// baseOfHost are the trees of programs. On most machines all but /usr are links into it.
var baseOfHost = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}

// walls are the arguments of bwrap for one command, up to the program inside. Nothing of the command is in them.
// shown is what [Driver.checkPaths] found.
func (d *Driver) walls(config Config, shown []string, l rundir.Layout) []string {
	a := []string{
		d.opts.Bwrap, "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts",
		"--hostname", hostname, "--die-with-parent", "--new-session", "--as-pid-1",
	}
	if d.version().modern() {
		a = append(a, "--disable-userns")
	}
	if d.opts.Cgroups == nil || d.opts.Cgroups.V2 == "" {
		// With v2 a process joins only a group that its cgroup namespace shows.
		a = append(a, "--unshare-cgroup-try")
	}
	if config.Network == NetworkNone {
		a = append(a, "--unshare-net")
	}
	for _, path := range baseOfHost {
		if target, err := os.Readlink(path); err == nil {
			a = append(a, "--symlink", target, path)
		} else {
			a = append(a, "--ro-bind-try", path, path)
		}
	}
	a = append(a, d.etc.walls(config.Network)...)
	a = append(a, "--proc", "/proc", "--dev", "/dev")
	if d.version().modern() {
		a = append(a, "--size", strconv.Itoa(shmBytes))
	}
	a = append(a, "--tmpfs", "/dev/shm", "--remount-ro", "/dev")
	for i, path := range config.ReadOnlyPaths {
		a = append(a, "--ro-bind", shown[i], path)
	}
	return append(a, "--bind", l.Tmp, tmpPath, "--bind", l.Workspace, workspacePath, "--remount-ro", "/", "--")
}

// checkPaths refuses further paths that do not exist, or that a configuration may not name. shown is what each of them is,
// without symbolic links: what was checked is what is mounted, whatever becomes of a link meanwhile.
func (d *Driver) checkPaths(config Config) (shown []string, err error) {
	var problems []drivers.FieldProblem
	for i, path := range config.ReadOnlyPaths {
		real, problem := d.checkPath(path)
		if problem != nil {
			problem.Field = fmt.Sprintf("config.readOnlyPaths[%d]", i)
			problems = append(problems, *problem)
		}
		shown = append(shown, real)
	}
	if len(problems) > 0 {
		return nil, &drivers.ConfigError{Problems: problems}
	}
	return shown, nil
}

func (d *Driver) checkPath(path string) (real string, problem *drivers.FieldProblem) {
	refused := &drivers.FieldProblem{
		Problem:     fmt.Sprintf("%q is not below one of %s", path, strings.Join(d.opts.ReadOnlyBases, ", ")),
		Remediation: "put what sandboxes shall read below one of these, or let the operator add its directory to the plugin's",
	}
	// First by its name: what may not be shown is not looked for either.
	if !d.offered(filepath.Clean(path)) {
		return "", refused
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", &drivers.FieldProblem{Problem: fmt.Sprintf("%q does not exist", path), Remediation: "name a path that the machine has"}
	}
	if err != nil {
		return "", &drivers.FieldProblem{Problem: err.Error(), Remediation: "name a path that the worker's user can reach"}
	}
	if !d.offered(real) {
		return "", refused
	}
	return real, nil
}

// offered reports whether a path may be shown: it is below a base, and neither holds the runtimes nor is one.
func (d *Driver) offered(path string) bool {
	root := d.runtimes.Root()
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real
	}
	for _, own := range []string{root, d.runtimes.Root()} {
		if within(own, path) || within(path, own) {
			return false
		}
	}
	for _, base := range d.opts.ReadOnlyBases {
		if within(filepath.Clean(base), path) {
			return true
		}
	}
	return false
}

// within reports whether path is dir or below it.
func within(dir, path string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}
