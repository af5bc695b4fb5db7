package cgroup

import (
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

	"golang.org/x/sys/unix"
)

// Limits are what the processes of a group may use together. 0 is no limit.
type Limits struct {
	// MemoryBytes counts swap as well, where the kernel accounts for it.
	MemoryBytes int64
	// Pids counts threads too.
	Pids int
	// CPUs may be a fraction.
	CPUs float64
}

// needs are the controllers of these limits.
func (l Limits) needs() []string {
	var names []string
	if l.MemoryBytes > 0 {
		names = append(names, Memory)
	}
	if l.Pids > 0 {
		names = append(names, Pids)
	}
	if l.CPUs > 0 {
		names = append(names, CPU)
	}
	return names
}

// None says that nothing is limited.
func (l Limits) None() bool { return len(l.needs()) == 0 }

// Missing names the limits that cannot be kept here.
func (h *Hierarchy) Missing(l Limits) []string {
	var missing []string
	for _, c := range l.needs() {
		if !h.has(c) {
			missing = append(missing, c)
		}
	}
	return missing
}

// Group is one cgroup, which may be several directories. It need not exist.
type Group struct {
	h    *Hierarchy
	name string
}

// Group names a group of this hierarchy. The name is that of a directory.
func (h *Hierarchy) Group(name string) *Group { return &Group{h: h, name: name} }

// dir is where the group is in a controller's tree.
func (g *Group) dir(controller string) string {
	if base, ok := g.h.V1[controller]; ok {
		return filepath.Join(base, g.name)
	}
	return filepath.Join(g.h.V2, g.name)
}

// dirs are all places where the group may be, each once.
func (g *Group) dirs() []string {
	if g.h == nil {
		return nil
	}
	var dirs []string
	for _, base := range g.h.V1 {
		dirs = append(dirs, filepath.Join(base, g.name))
	}
	if g.h.V2 != "" {
		dirs = append(dirs, filepath.Join(g.h.V2, g.name))
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// Make makes the group with the limits that [Hierarchy.Missing] does not name. It may be repeated. Processes of uid can be
// put in; that matters when the caller is root.
func (g *Group) Make(l Limits, uid, gid int) error {
	for _, c := range l.needs() {
		if !g.h.has(c) {
			continue
		}
		dir := g.dir(c)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make cgroup: %w", err)
		}
		if os.Geteuid() == 0 && uid != 0 {
			if err := own(dir, uid, gid, "cgroup.procs"); err != nil {
				return err
			}
		}
		if err := g.limit(c, dir, l); err != nil {
			return fmt.Errorf("limit %s: %w", c, err)
		}
	}
	return nil
}

// limit writes one limit.
func (g *Group) limit(controller, dir string, l Limits) error {
	_, v1 := g.h.V1[controller]
	const period = 100_000
	switch quota := strconv.FormatInt(int64(l.CPUs*period), 10); {
	case controller == Pids:
		return write(filepath.Join(dir, "pids.max"), strconv.Itoa(l.Pids))
	case controller == CPU && v1:
		return errors.Join(
			write(filepath.Join(dir, "cpu.cfs_period_us"), strconv.Itoa(period)), write(filepath.Join(dir, "cpu.cfs_quota_us"), quota))
	case controller == CPU:
		return write(filepath.Join(dir, "cpu.max"), quota+" "+strconv.Itoa(period))
	case v1:
		return limitMemoryV1(dir, strconv.FormatInt(l.MemoryBytes, 10))
	}
	return errors.Join(
		write(filepath.Join(dir, "memory.max"), strconv.FormatInt(l.MemoryBytes, 10)), ifThere(filepath.Join(dir, "memory.swap.max"), "0"))
}

func limitMemoryV1(dir, bytes string) error {
	limit, both := filepath.Join(dir, "memory.limit_in_bytes"), filepath.Join(dir, "memory.memsw.limit_in_bytes")
	if err := write(limit, bytes); err != nil {
		return err
	}
	return ifThere(both, bytes)
}

// ifThere writes to a file that not every kernel has.
func ifThere(path, value string) error {
	if err := write(path, value); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Join is how a process gets into the group: its pid is written to each file (v1), or it is forked into the directory (v2).
func (g *Group) Join() []string {
	var join []string
	if g.h == nil {
		return nil
	}
	for _, base := range g.h.V1 {
		if tasks := filepath.Join(base, g.name, "tasks"); exists(tasks) {
			join = append(join, tasks)
		}
	}
	if dir := filepath.Join(g.h.V2, g.name); g.h.V2 != "" && exists(dir) {
		join = append(join, dir)
	}
	slices.Sort(join)
	return join
}

// Full reports whether the group has as many processes as it may have. With v1, moving a process into a group is never
// refused, so that whoever does it asks first.
func (g *Group) Full() bool {
	if !g.h.has(Pids) {
		return false
	}
	now, err1 := words(filepath.Join(g.dir(Pids), "pids.current"))
	most, err2 := words(filepath.Join(g.dir(Pids), "pids.max"))
	if err1 != nil || err2 != nil || len(now) != 1 || len(most) != 1 {
		return false
	}
	n, err1 := strconv.Atoi(now[0])
	limit, err2 := strconv.Atoi(most[0]) // "max" is no limit
	return err1 == nil && err2 == nil && n >= limit
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Start starts cmd in the group: no instruction of its program runs outside. With v1 the process is traced until it has
// executed its program, moved, and let go.
func (g *Group) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	var tasks []string
	for _, path := range g.Join() {
		if filepath.Base(path) == "tasks" {
			tasks = append(tasks, path)
			continue
		}
		dir, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("join cgroup: %w", err)
		}
		defer dir.Close() //nolint:errcheck // the kernel has it
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	if len(tasks) == 0 {
		return cmd.Start()
	}
	// The thread that forks is the one that traces.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr.Ptrace = true
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := move(cmd.Process.Pid, tasks); err != nil {
		return errors.Join(fmt.Errorf("join cgroup: %w", err), cmd.Process.Kill(), cmd.Wait())
	}
	return nil
}

// move puts a traced process that stops at its first instruction into groups and lets it go on.
func move(pid int, tasks []string) error {
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &status, syscall.WALL, nil)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	if !status.Stopped() {
		return errors.New("the process ended before it was in")
	}
	for _, path := range tasks {
		if err := write(path, strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	return unix.PtraceDetach(pid)
}

// Processes are the pids in the group.
func (g *Group) Processes() ([]int, error) {
	var pids []int
	for _, dir := range g.dirs() {
		list, err := words(filepath.Join(dir, "cgroup.procs"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, w := range list {
			if pid, err := strconv.Atoi(w); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// Kill ends every process in the group, and returns when none is left or ctx is done.
func (g *Group) Kill(ctx context.Context) error {
	return repeat(ctx, func() (bool, error) {
		pids, err := g.Processes()
		if err != nil || len(pids) == 0 {
			return len(pids) == 0, err
		}
		for _, dir := range g.dirs() {
			_ = write(filepath.Join(dir, "cgroup.kill"), "1") // v2 since 5.14; the signals below do it elsewhere
		}
		return false, g.signal(pids)
	})
}

// signal sends SIGKILL to those of pids that are still in the group once they are pinned.
func (g *Group) signal(pids []int) error {
	pinned := make(map[int]int, len(pids))
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // it ended
		}
		defer unix.Close(fd) //nolint:errcheck // it only pins a process
		pinned[pid] = fd
	}
	still, err := g.Processes()
	if err != nil {
		return err
	}
	for _, pid := range still {
		if fd, ok := pinned[pid]; ok {
			if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("kill process %d: %w", pid, err)
			}
		}
	}
	return nil
}

// Remove removes the group once it is empty. One that does not exist is fine.
func (g *Group) Remove(ctx context.Context) error {
	return repeat(ctx, func() (bool, error) {
		for _, dir := range g.dirs() {
			err := unix.Rmdir(dir)
			if errors.Is(err, unix.EBUSY) {
				return false, nil // a process that was killed is not quite gone
			}
			if err != nil && !errors.Is(err, unix.ENOENT) {
				return false, fmt.Errorf("remove cgroup %s: %w", dir, err)
			}
		}
		return true, nil
	})
}

// repeat calls done until it says true, with a rest between.
func repeat(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// OOMKills counts the processes of the group that the kernel ended because the memory limit was reached. It is false where
// the kernel does not tell.
func (g *Group) OOMKills() (int64, bool) {
	if !g.h.has(Memory) {
		return 0, false
	}
	file := "memory.events"
	if _, v1 := g.h.V1[Memory]; v1 {
		file = "memory.oom_control"
	}
	b, err := os.ReadFile(filepath.Join(g.dir(Memory), file))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			count, err := strconv.ParseInt(strings.TrimSpace(n), 10, 64)
			return count, err == nil
		}
	}
	return 0, false
}
