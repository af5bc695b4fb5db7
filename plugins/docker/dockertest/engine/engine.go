// Package engine runs a Docker engine of one's own: as root, with directories, a socket and cgroups of its own, with a bridge
// of its own or none, and no way to any registry. Nothing of it is left after [Engine.Stop]. It is for tests, which reach it
// through package dockertest, for the demo and the benchmarks.
package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"
)

// Engine is a Docker engine that runs.
type Engine struct {
	// Host is its address.
	Host string
	// Client talks to it, for what a test wants to see behind a driver's back.
	Client *client.Client
	// Dir is where all of it is.
	Dir string
	// Gateway is this machine's address in the network bridge; "" if the engine has no such network.
	Gateway string

	bridge string

	cmd    *exec.Cmd
	exited chan struct{}
}

// Tools is an image that has a shell and the usual programs, a user worker (1234, group 2345) and no /tmp. [Engine.ImportTools]
// makes it.
const Tools = "tenure-test/tools:1"

// Left names the containers and volumes that tenure made and that are there, of one runtime or of all (""); any volume
// that belongs to nothing counts, since an image may declare some.
func (e *Engine) Left(ctx context.Context, runtimeID string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	containers, err := e.Client.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return nil, err
	}
	var left []string
	for _, c := range containers.Items {
		if runtimeID != "" && c.Labels["tenure.runtime"] != runtimeID {
			continue
		}
		// What has no name may be listed only: see hold.go.
		if _, err := e.Client.ContainerInspect(ctx, c.ID, client.ContainerInspectOptions{}); len(c.Names) > 0 || !errdefs.IsNotFound(err) {
			left = append(left, strings.Join(append(c.Names, c.ID), ","))
		}
	}
	volumes, err := e.Client.VolumeList(ctx, client.VolumeListOptions{})
	if err != nil {
		return nil, err
	}
	for _, v := range volumes.Items {
		if runtimeID == "" || v.Labels["tenure.runtime"] == runtimeID {
			left = append(left, v.Name)
		}
	}
	return left, nil
}

// startLimit bounds the start of an engine, stopLimit its end.
const (
	startLimit = 3 * time.Minute
	stopLimit  = 2 * time.Minute
)

// Network says whether an engine has the network "bridge".
type Network bool

// The networks of an engine.
const (
	WithBridge Network = true
	NoBridge   Network = false
)

// MaxParent leaves room for the paths of the engine's sockets, which the kernel keeps below 108 bytes.
const MaxParent = 40

// Options of an engine.
type Options struct {
	// Parent is where its directory is made; its path may have [MaxParent] bytes.
	Parent  string
	Network Network
}

// Start runs an engine without images.
func Start(ctx context.Context, o Options) (_ *Engine, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a Docker engine needs root")
	}
	if len(o.Parent) > MaxParent {
		return nil, fmt.Errorf("%s is longer than the %d bytes that a Docker engine's sockets leave", o.Parent, MaxParent)
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	// The name is also that of its cgroups, so it must be like no other.
	dir, err := os.MkdirTemp(o.Parent, "tenure-docker-")
	if err != nil {
		return nil, err
	}
	e := &Engine{Dir: dir, Host: "unix://" + filepath.Join(dir, "sock")}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Stop())
		}
	}()
	if e.Client, err = client.New(client.WithHost(e.Host)); err != nil {
		return nil, err
	}
	if o.Network == WithBridge {
		if err := e.makeBridge(ctx); err != nil {
			return nil, err
		}
	}
	if err := e.launch(); err != nil {
		return nil, err
	}
	return e, e.awaitReady(ctx)
}

// BuildInner compiles the program for containers, for callers that may need a C library, as test binaries do.
func BuildInner(ctx context.Context, to string) error {
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", to, "github.com/tenure-dev/tenure/plugins/docker/dockertest/innercmd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the program for containers: %w: %s", err, out)
	}
	return nil
}

// launch starts dockerd. It gets SIGTERM, and ends what it runs, if this process dies.
func (e *Engine) launch() error {
	path := "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	program := "/usr/sbin/dockerd"
	if _, err := os.Stat(program); err != nil {
		var lookErr error
		if program, lookErr = exec.LookPath("dockerd"); lookErr != nil {
			return fmt.Errorf("no Docker engine is installed (Debian: docker.io): %w", lookErr)
		}
	}
	bridge := "none"
	if e.bridge != "" {
		bridge = e.bridge
	}
	log, err := os.Create(filepath.Join(e.Dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // dockerd has its own
	e.cmd = exec.CommandContext(context.Background(), program,
		"--data-root", filepath.Join(e.Dir, "data"), "--exec-root", filepath.Join(e.Dir, "exec"), "--pidfile", filepath.Join(e.Dir, "pid"),
		"--host", e.Host, "--group", "root", "--cgroup-parent", "/"+filepath.Base(e.Dir),
		"--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge="+bridge, "--shutdown-timeout", "5",
		"--config-file", filepath.Join(e.Dir, "none.json"))
	e.cmd.Env = []string{path, "HOME=" + e.Dir, "TMPDIR=" + e.Dir}
	e.cmd.Stdout, e.cmd.Stderr = log, log
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := os.WriteFile(filepath.Join(e.Dir, "none.json"), []byte("{}"), 0o600); err != nil {
		return err
	}
	e.exited = make(chan struct{})
	started := make(chan error, 1)
	go func() {
		// The signal at the parent's death is bound to the thread that forked, which therefore stays.
		runtime.LockOSThread()
		err := e.cmd.Start()
		started <- err
		if err == nil {
			_ = e.cmd.Wait()
		}
		close(e.exited)
	}()
	return <-started
}

func (e *Engine) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := e.Client.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-e.exited:
			return fmt.Errorf("dockerd exited: %s", e.logTail())
		case <-ctx.Done():
			return fmt.Errorf("dockerd is not ready: %w: %s", ctx.Err(), e.logTail())
		}
	}
}

func (e *Engine) logTail() string {
	b, err := os.ReadFile(filepath.Join(e.Dir, "log"))
	if err != nil {
		return err.Error()
	}
	const most = 4096
	return string(b[max(0, len(b)-most):])
}

// PID is dockerd's.
func (e *Engine) PID() int { return e.cmd.Process.Pid }

// Stop ends the engine and all that it runs, and removes what it made.
func (e *Engine) Stop() error {
	if e.cmd != nil && e.cmd.Process != nil {
		_ = e.cmd.Process.Signal(syscall.SIGCONT) // a test may have stopped it
		_ = e.cmd.Process.Signal(syscall.SIGTERM)
		limit := time.NewTimer(stopLimit)
		defer limit.Stop()
		select {
		case <-e.exited:
		case <-limit.C:
			_ = e.cmd.Process.Kill()
			<-e.exited
		}
	}
	return errors.Join(e.endStrays(), e.removeCgroups(), e.unmount(), e.removeBridge(), os.RemoveAll(e.Dir))
}

// endStrays kills what has the engine's directory in its arguments: containerd and its shims, should dockerd have left
// them. They end by themselves a moment after it.
func (e *Engine) endStrays() error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(stopLimit)
	defer limit.Stop()
	grace := 40
	for ; ; grace-- {
		strays, err := e.strays()
		if err != nil || len(strays) == 0 {
			return err
		}
		if grace < 0 {
			for _, pid := range strays {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		select {
		case <-tick.C:
		case <-limit.C:
			return fmt.Errorf("processes %v of the engine are left", strays)
		}
	}
}

func (e *Engine) strays() ([]int, error) {
	entries, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, name := range entries {
		b, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(b, []byte(e.Dir+"/")) {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(name, "/proc/%d/", &pid); err == nil && pid != os.Getpid() {
			found = append(found, pid)
		}
	}
	return found, nil
}

// unmount takes away what a killed engine left mounted, the inner ones first.
func (e *Engine) unmount() error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var points []string
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], e.Dir+"/") {
			points = append(points, fields[4])
		}
	}
	slices.Sort(points)
	slices.Reverse(points)
	var errs []error
	for _, point := range points {
		errs = append(errs, unix.Unmount(point, unix.MNT_DETACH))
	}
	return errors.Join(errs...)
}

// removeCgroups removes the engine's cgroups of every hierarchy, and ends what a killed engine left running in them.
func (e *Engine) removeCgroups() error {
	roots, err := filepath.Glob("/sys/fs/cgroup/*/" + filepath.Base(e.Dir))
	if err != nil {
		return err
	}
	roots = append(roots, "/sys/fs/cgroup/"+filepath.Base(e.Dir))
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(stopLimit)
	defer limit.Stop()
	for {
		var errs []error
		for _, root := range roots {
			errs = append(errs, removeCgroup(root))
		}
		err := errors.Join(errs...)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-limit.C:
			return err
		}
	}
}

// removeCgroup kills what is in a tree of cgroups and removes those that are empty, the inner ones first.
func removeCgroup(root string) error {
	var dirs []string
	_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	slices.Reverse(dirs)
	var errs []error
	for _, dir := range dirs {
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue
		}
		for line := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(line); err == nil && pid > 1 {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove cgroup %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}
