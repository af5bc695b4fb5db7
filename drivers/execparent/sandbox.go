package execparent

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/internal/proc"
)

// Sandbox is a program that runs another within walls, such as bwrap. Between it and the command is this binary once more,
// as the first process inside:
//
//	parent ──fork, exec──► sandbox program ──► inner parent (pid 1 inside) ──fork, exec──► command
//	   │ ◄──started, ended─────────────────────────┘ ▲
//	   └──command, environment, terminate────────────┘
//
// The command's arguments and environment go to the inner parent through a pipe; the sandbox program has neither, so
// nothing of them (LD_PRELOAD) acts outside the walls. The inner parent looks up directory and program as the command sees
// them, reaps, and tells how the command ended: an exit code that a sandbox program passes on does not say whether it was a
// signal. When the pipe from the parent ends, it ends, and with it everything in its pid namespace.
type Sandbox struct {
	// Argv is the program and its arguments up to the program inside, which is added. The program must pass on inherited
	// descriptors, mount /proc, make the program inside the first process of a pid namespace, and be gone when that is.
	// It may ask to be killed with its parent: the thread that starts it lives as long as the parent.
	Argv []string
	// Join are the cgroups of the command, which the sandbox's own processes stay out of: with cgroup v1 the files tasks,
	// with v2 the directory.
	Join []string
}

type wireSandbox struct {
	Argv [][]byte `json:"argv"`
	Join [][]byte `json:"join,omitempty"`
}

// inside is what the inner parent is told beside the command.
type inside struct {
	// JoinTasks are descriptors of files tasks (v1), JoinDir is one of a directory (v2) or 0.
	JoinTasks []int `json:"joinTasks,omitempty"`
	JoinDir   int   `json:"joinDir,omitempty"`
}

// The descriptors that the inner parent gets besides control and status.
const (
	insideStdinFD = 5 + iota
	insideStdoutFD
	insideStderrFD
	insideExeFD
)

// enterLimit bounds how long a sandbox program may take until the command has started.
const enterLimit = 20 * time.Second

// sandbox is the parent's end of the pipes to the inner parent.
type sandbox struct {
	control *os.File
	first   chan status // what became of the start; closed without a word if the sandbox ended first
	// ended is closed when the command has ended, or the sandbox is gone; then mainStatus is nil.
	ended      chan struct{}
	mainStatus *syscall.WaitStatus
	words      tail // of the sandbox program
	silent     chan struct{}
}

// startSandboxed is start for a spec with a sandbox.
func (p *parent) startSandboxed(r *bufio.Reader, stdin *os.File) (drivers.Process, *notRun, error) {
	c, sf := p.enter(stdin)
	if sf != nil {
		return drivers.Process{}, nil, sf
	}
	p.output.copyTo(p.sink)
	process, err := proc.Identity(c.pid)
	p.tree = watch(*c, lookAtSandboxes)
	if err != nil {
		p.tree.kill()
		return drivers.Process{}, nil, startFailedBy("process", "identify", err).StartFailed
	}
	go p.readControl(r, p.requests)
	nr, sf := p.awaitEntry()
	if nr == nil && sf == nil {
		return process, nil, nil
	}
	left := p.tree.kill()
	switch {
	case sf != nil:
		return drivers.Process{}, nil, sf
	case left > 0:
		return drivers.Process{}, nil, &startFailed{
			Stage: "sandbox", Code: "sandbox_stuck", Message: fmt.Sprintf("%d processes of the sandbox do not end", left),
			Remediation: "release the lease and acquire a new one",
		}
	}
	self, err := proc.Identity(os.Getpid())
	if err != nil {
		return drivers.Process{}, nil, startFailedBy("process", "identify", err).StartFailed
	}
	return self, nr, nil
}

// awaitEntry returns nothing once the command runs, and otherwise why it does not.
func (p *parent) awaitEntry() (*notRun, *startFailed) {
	timer := time.NewTimer(enterLimit)
	defer timer.Stop()
	select {
	case s, ok := <-p.sandbox.first:
		switch {
		case !ok:
			return nil, p.sandbox.failed()
		case s.NotRun != nil:
			return &notRun{s.NotRun.ExitCode, s.NotRun.Message}, nil
		case s.StartFailed != nil:
			return nil, s.StartFailed
		}
		return nil, nil
	case <-timer.C:
		return nil, &startFailed{
			Stage: "sandbox", Code: "sandbox_stuck", Message: fmt.Sprintf("the sandbox was not up after %s", enterLimit),
			Remediation: "look for a file system that does not answer among those the sandbox mounts",
		}
	case k := <-p.requests:
		return nil, &startFailed{Stage: "process", Code: "canceled", Message: "ended before it started: " + k.Why, Remediation: "start it again, if it is still wanted"}
	case <-p.signals:
		return nil, &startFailed{Stage: "process", Code: "canceled", Message: "the exec parent was told to end", Remediation: "start it again, if it is still wanted"}
	}
}

// failed is the sandbox program's own failure, in its own words.
func (s *sandbox) failed() *startFailed {
	timer := time.NewTimer(settleLimit)
	defer timer.Stop()
	select {
	case <-s.silent:
	case <-timer.C:
	}
	words := strings.TrimSpace(strings.TrimPrefix(s.words.String(), ": "))
	if words == "" {
		words = "the sandbox program ended without a word"
	}
	return &startFailed{Stage: "sandbox", Code: "sandbox_failed", Message: words}
}

// enter starts the sandbox program.
func (p *parent) enter(stdin *os.File) (*child, *startFailed) {
	failed := func(err error) (*child, *startFailed) {
		return nil, startFailedBy("process", "sandbox", err).StartFailed
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return failed(err)
	}
	defer null.Close() //nolint:errcheck // the sandbox has its own
	exe, err := os.OpenFile("/proc/self/exe", unix.O_PATH, 0)
	if err != nil {
		return failed(err)
	}
	defer exe.Close() //nolint:errcheck // as null
	controlR, controlW, err := os.Pipe()
	if err != nil {
		return failed(err)
	}
	defer controlR.Close() //nolint:errcheck // as null
	statusR, statusW, err := os.Pipe()
	if err != nil {
		return failed(err)
	}
	defer statusW.Close() //nolint:errcheck // as null
	wordsR, wordsW, err := os.Pipe()
	if err != nil {
		return failed(err)
	}
	defer wordsW.Close() //nolint:errcheck // as null
	files := []uintptr{
		null.Fd(), null.Fd(), wordsW.Fd(), controlR.Fd(), statusW.Fd(),
		stdin.Fd(), p.output.writers[0], p.output.writers[1], exe.Fd(),
	}
	in := inside{}
	for _, path := range p.spec.Sandbox.Join {
		f, isDir, err := openGroup(string(path))
		if err != nil {
			return nil, limitsFailed(err)
		}
		defer f.Close() //nolint:errcheck // as null
		if isDir {
			in.JoinDir = len(files)
		} else {
			in.JoinTasks = append(in.JoinTasks, len(files))
		}
		files = append(files, f.Fd())
	}
	program := p.spec
	program.Argv = append(append([][]byte{}, p.spec.Sandbox.Argv...), fmt.Appendf(nil, "/proc/self/fd/%d", insideExeFD))
	for _, arg := range os.Args[1:] {
		program.Argv = append(program.Argv, []byte(arg))
	}
	program.Env, program.Cwd = nil, []byte("/")
	c, nr, sf := start(program, files)
	if sf != nil {
		return nil, sf
	}
	if nr != nil {
		return nil, &startFailed{
			Stage: "sandbox", Code: "sandbox_missing", Message: nr.message,
			Remediation: "install the sandbox program, or name where it is",
		}
	}
	p.sandbox = &sandbox{
		control: controlW, first: make(chan status, 1), ended: make(chan struct{}), silent: make(chan struct{}),
	}
	inner := p.spec
	inner.Sandbox, inner.Inside, inner.StdinBytes, inner.Credential = nil, &in, 0, nil
	go p.sandbox.feed(inner)
	go p.sandbox.listen(statusR)
	go func() {
		defer close(p.sandbox.silent)
		_, _ = wordsR.WriteTo(&p.sandbox.words)
	}()
	return c, nil
}

// openGroup opens a cgroup to be joined.
func openGroup(path string) (f *os.File, isDir bool, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, false, err
	}
	if info.IsDir() {
		f, err = os.Open(path)
		return f, true, err
	}
	f, err = os.OpenFile(path, os.O_WRONLY, 0)
	return f, false, err
}

// feed tells the inner parent what to run. If it does not listen, its end says so.
func (s *sandbox) feed(spec wireSpec) { _ = sendSpec(s.control, spec, nil) }

// listen reads what the inner parent says until it is gone.
func (s *sandbox) listen(r *os.File) {
	defer close(s.ended)
	defer r.Close() //nolint:errcheck // only read
	defer close(s.first)
	d := json.NewDecoder(r)
	var first status
	if err := d.Decode(&first); err != nil {
		return
	}
	s.first <- first
	var last status
	if err := d.Decode(&last); err != nil || last.Ended == nil {
		return
	}
	ws := syscall.WaitStatus(*last.Ended)
	s.mainStatus = &ws
}

// terminate asks the command to end.
func (s *sandbox) terminate() {
	// If the inner parent is gone, so is the command.
	_, _ = s.control.Write([]byte("{}\n"))
}

// runInside is the inner parent: it runs the command, reaps, and stays until nothing is left or the parent is gone.
func runInside(spec wireSpec, r *bufio.Reader, w *os.File) int {
	given := []int{insideStdinFD, insideStdoutFD, insideStderrFD, insideExeFD}
	for _, fd := range slices.Concat(given, spec.Inside.JoinTasks, []int{spec.Inside.JoinDir}) {
		if fd > 2 {
			unix.CloseOnExec(fd) // as prepareProcess did, where the kernel has a call for all at once
		}
	}
	c, nr, sf := start(spec, []uintptr{insideStdinFD, insideStdoutFD, insideStderrFD})
	for _, fd := range given {
		_ = unix.Close(fd) // from now on only the command and its descendants hold the output
	}
	switch {
	case sf != nil:
		report(w, status{StartFailed: sf})
		return 1
	case nr != nil:
		report(w, status{NotRun: &wireNotRun{ExitCode: nr.exitCode, Message: nr.message}})
		return 1
	}
	report(w, status{Started: &drivers.Process{PID: c.pid}})
	t := watch(*c, lookSoon)
	go func() {
		d := json.NewDecoder(r)
		for {
			var c control
			if err := d.Decode(&c); err != nil {
				syscall.Exit(0) // the parent is gone; the kernel ends the rest of the namespace
			}
			t.terminate()
		}
	}()
	<-t.mainEnded
	ended := uint32(t.mainStatus)
	report(w, status{Ended: &ended})
	<-t.empty
	return 0
}

// limited reports whether the command is to be in a cgroup.
func (in *inside) limited() bool { return in != nil && (len(in.JoinTasks) > 0 || in.JoinDir != 0) }

// prepare makes fork do what puts the command into its cgroup. With v2 that is all. With v1 a process can only be moved, so
// that this one is traced: it stops when it has executed its program, before the program does anything, and join moves it.
// That the calling thread joins instead would be no good: it counts as one of the processes until it has left.
func (in *inside) prepare(attr *syscall.SysProcAttr) {
	if in.JoinDir != 0 {
		attr.UseCgroupFD, attr.CgroupFD = true, in.JoinDir
	}
	attr.Ptrace = len(in.JoinTasks) > 0
}

// join moves a command that stopped into its cgroups and lets it go on. It runs on the thread that forked.
func (in *inside) join(pid int) *startFailed {
	if len(in.JoinTasks) == 0 {
		return nil
	}
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &status, syscall.WALL, nil)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return limitsFailed(err)
		}
	}
	if !status.Stopped() {
		return limitsFailed(errors.New("the command ended before it was in"))
	}
	for _, fd := range in.JoinTasks {
		if _, err := unix.Write(fd, strconv.AppendInt(nil, int64(pid), 10)); err != nil {
			_ = unix.Kill(pid, unix.SIGKILL)
			_, _ = syscall.Wait4(pid, &status, syscall.WALL, nil)
			return limitsFailed(err)
		}
	}
	if err := unix.PtraceDetach(pid); err != nil {
		return limitsFailed(err)
	}
	return nil
}

func limitsFailed(err error) *startFailed {
	return &startFailed{
		Stage: "limits", Code: "limits_unavailable", Message: "join the runtime's cgroup: " + err.Error(),
		Remediation: "release the lease and acquire a new one",
	}
}

// notLimited is a fork that failed for what prepare asked, or nil if it failed for another reason.
func (in *inside) notLimited(err error, attr *syscall.ProcAttr) *startFailed {
	switch {
	case !in.limited():
		return nil
	case in.JoinDir != 0 && !errors.Is(err, unix.EAGAIN) && !canJoin(attr):
		f := limitsFailed(err)
		f.Remediation = "start the worker in the cgroups that are delegated to it"
		return f
	case errors.Is(err, unix.EAGAIN):
		return &startFailed{
			Stage: "limits", Code: "too_many_processes", Message: "the runtime has as many processes as it may have",
			Remediation: "wait for other commands of this lease to end, or raise the limit of processes",
		}
	case errors.Is(err, unix.EPERM) && len(in.JoinTasks) > 0:
		f := limitsFailed(err)
		f.Remediation = "set kernel.yama.ptrace_scope below 2, or mount cgroup v2"
		return f
	}
	return nil
}

// canJoin reports whether a program that can certainly be executed can be forked into the cgroup.
func canJoin(attr *syscall.ProcAttr) bool {
	pid, err := syscall.ForkExec("/proc/self/exe", os.Args, attr)
	if err != nil {
		return false
	}
	_, _ = syscall.Wait4(pid, nil, 0, nil) // without its pipes it ends at once
	return true
}
