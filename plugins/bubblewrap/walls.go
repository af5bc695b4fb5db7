package bubblewrap

import (
	"bytes"
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

// etcOfHost are the files of /etc that commands read, where the machine has them: what the loader, the C library, TLS and
// the time zone need. None holds a secret: of /etc/ssl only the certificates, not /etc/ssl/private.
var etcOfHost = []string{
	"/etc/alternatives", "/etc/ca-certificates", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime",
	"/etc/mime.types", "/etc/os-release", "/etc/pki/ca-trust", "/etc/pki/tls/certs", "/etc/protocols", "/etc/services",
	"/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/timezone",
}

// etcOfNetwork are those that the host's network needs.
var etcOfNetwork = []string{"/etc/gai.conf", "/etc/hosts", "/etc/resolv.conf"}

// baseOfHost are the trees of programs. On most machines all but /usr are links into it.
var baseOfHost = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}

// writeEtc writes the files that every sandbox has in place of the machine's.
func (d *Driver) writeEtc() error {
	uid, gid := d.opts.user()
	if err := os.MkdirAll(d.etc, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(d.etc, 0o755); err != nil { //nolint:gosec // every sandbox reads it
		return err
	}
	for name, text := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/usr/sbin/nologin\n" +
			fmt.Sprintf("tenure:x:%d:%d:tenure:%s:/bin/sh\n", uid, gid, workspacePath) +
			"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"group":         fmt.Sprintf("root:x:0:\ntenure:x:%d:\nnogroup:x:65534:\n", gid),
		"hosts":         "127.0.0.1 localhost " + hostname + "\n::1 localhost\n",
		"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
	} {
		path := filepath.Join(d.etc, name)
		if now, err := os.ReadFile(path); err == nil && bytes.Equal(now, []byte(text)) {
			continue
		}
		// In one step: a sandbox may be reading the old one.
		if err := os.WriteFile(path+".tmp", []byte(text), 0o644); err != nil {
			return err
		}
		if err := errors.Join(os.Chmod(path+".tmp", 0o644), os.Rename(path+".tmp", path)); err != nil { //nolint:gosec // as the directory
			return err
		}
	}
	return nil
}

const hostname = "sandbox"

// walls are the arguments of bwrap for one command, up to the program inside. Nothing of the command is in them.
func (d *Driver) walls(config Config, l rundir.Layout) []string {
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
	for _, path := range etcOfHost {
		a = append(a, "--ro-bind-try", path, path)
	}
	madeUp := []string{"passwd", "group", "nsswitch.conf"}
	if config.Network == NetworkNone {
		madeUp = append(madeUp, "hosts")
	}
	for _, name := range madeUp {
		a = append(a, "--ro-bind", filepath.Join(d.etc, name), "/etc/"+name)
	}
	if config.Network == NetworkHost {
		for _, path := range etcOfNetwork {
			a = append(a, "--ro-bind-try", path, path)
		}
	}
	a = append(a, "--proc", "/proc", "--dev", "/dev")
	if d.version().modern() {
		a = append(a, "--size", strconv.Itoa(shmBytes))
	}
	a = append(a, "--tmpfs", "/dev/shm", "--remount-ro", "/dev")
	for _, path := range config.ReadOnlyPaths {
		a = append(a, "--ro-bind", path, path)
	}
	return append(a, "--bind", l.Tmp, tmpPath, "--bind", l.Workspace, workspacePath, "--remount-ro", "/", "--")
}

// checkPaths refuses further paths that do not exist, or that a configuration may not name.
func (d *Driver) checkPaths(config Config) error {
	var problems []drivers.FieldProblem
	for i, path := range config.ReadOnlyPaths {
		if problem := d.checkPath(path); problem != nil {
			problem.Field = fmt.Sprintf("config.readOnlyPaths[%d]", i)
			problems = append(problems, *problem)
		}
	}
	if len(problems) > 0 {
		return &drivers.ConfigError{Problems: problems}
	}
	return nil
}

func (d *Driver) checkPath(path string) *drivers.FieldProblem {
	refused := &drivers.FieldProblem{
		Problem:     fmt.Sprintf("%q is not below one of %s", path, strings.Join(d.opts.ReadOnlyBases, ", ")),
		Remediation: "put what sandboxes shall read below one of these, or let the operator add its directory to the plugin's",
	}
	// First by its name: what may not be shown is not looked for either.
	if !d.offered(filepath.Clean(path)) {
		return refused
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &drivers.FieldProblem{Problem: fmt.Sprintf("%q does not exist", path), Remediation: "name a path that the machine has"}
	}
	if err != nil {
		return &drivers.FieldProblem{Problem: err.Error(), Remediation: "name a path that the worker's user can reach"}
	}
	if !d.offered(real) {
		return refused
	}
	return nil
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
