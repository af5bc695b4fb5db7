package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Delegation is a part of the engine's cgroups that belongs to another user.
type Delegation struct {
	Hierarchy Hierarchy
	// inhabited is where a worker must live to move processes within a v2 part; "" with v1, where it may live anywhere.
	inhabited string
}

// Delegate makes the cgroups of a worker that will run as uid and gid: a directory in each hierarchy, below the engine's
// own cgroup, owned by that user. The caller may write cgroups, which usually means root. It may be repeated. The worker
// needs [Hierarchy.Encode] in its environment, and [Delegation.Place] once it is started. That no controller is to be had
// is no error: the worker then says which limits it cannot keep.
func Delegate(name string, uid, gid int) (*Delegation, error) {
	if name == "" || strings.ContainsAny(name, "/\x00") {
		return nil, fmt.Errorf("delegate cgroups: %q is not the name of a directory", name)
	}
	m, err := mounts()
	if err != nil {
		return nil, err
	}
	d := &Delegation{Hierarchy: Hierarchy{V1: map[string]string{}}}
	for _, c := range controllers {
		at, ok := m.v1[c]
		if !ok || !writable(at) {
			continue
		}
		dir := filepath.Join(at, "tenure-"+name)
		if err := own(dir, uid, gid, "tasks", "cgroup.procs"); err != nil {
			return nil, err
		}
		d.Hierarchy.V1[c] = dir
	}
	if len(d.Hierarchy.V1) == 0 && m.v2 != "" && writable(m.v2) {
		if err := d.delegateV2(m.v2, name, uid, gid); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *Delegation) delegateV2(at, name string, uid, gid int) error {
	if _, err := enable(at); err != nil {
		return err
	}
	dir := filepath.Join(at, "tenure-"+name)
	if err := own(dir, uid, gid, "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"); err != nil {
		return err
	}
	on, err := enable(dir)
	if err != nil {
		return err
	}
	worker := filepath.Join(dir, "worker")
	if err := own(worker, uid, gid, "cgroup.procs", "cgroup.threads"); err != nil {
		return err
	}
	d.Hierarchy.V2, d.Hierarchy.Controllers, d.inhabited = dir, on, worker
	return nil
}

// enable turns the controllers on for the groups below dir, as far as dir has them, and returns which are on. A cgroup that
// has processes cannot have both; they move into one below it.
func enable(dir string) ([]string, error) {
	available, err := words(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return nil, fmt.Errorf("delegate cgroups: %w", err)
	}
	var want, on []string
	for _, c := range controllers {
		if slices.Contains(available, c) {
			want, on = append(want, "+"+c), append(on, c)
		}
	}
	if len(want) == 0 {
		return nil, nil
	}
	control := filepath.Join(dir, "cgroup.subtree_control")
	err = write(control, strings.Join(want, " "))
	if errors.Is(err, unix.EBUSY) {
		if err = settle(dir); err == nil {
			err = write(control, strings.Join(want, " "))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("delegate cgroups: turn on %s in %s: %w", strings.Join(on, ", "), dir, err)
	}
	return on, nil
}

// settle moves the processes of a cgroup into a leaf below it.
func settle(dir string) error {
	leaf := filepath.Join(dir, "tenure-engine")
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	pids, err := words(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := write(filepath.Join(leaf, "cgroup.procs"), pid); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// own makes a cgroup that uid may divide and populate, but whose limits it cannot change.
func own(dir string, uid, gid int, files ...string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("delegate cgroups: %w", err)
	}
	for _, path := range append([]string{"."}, files...) {
		if err := os.Chown(filepath.Join(dir, path), uid, gid); err != nil {
			return fmt.Errorf("delegate cgroups: %w", err)
		}
	}
	return nil
}

// Place puts a worker that was just started where it may use its cgroups.
func (d *Delegation) Place(pid int) error {
	if d.inhabited == "" {
		return nil
	}
	if err := write(filepath.Join(d.inhabited, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
		return fmt.Errorf("place worker %d into its cgroup: %w", pid, err)
	}
	return nil
}

// Remove takes the delegated directories away. Those that still have groups or processes stay, and are named.
func (d *Delegation) Remove() error {
	var problems []error
	dirs := []string{d.inhabited, d.Hierarchy.V2}
	for _, dir := range d.Hierarchy.V1 {
		dirs = append(dirs, dir)
	}
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			problems = append(problems, fmt.Errorf("remove cgroup %s: %w", dir, err))
		}
	}
	return errors.Join(problems...)
}
