package execparent

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/internal/atomicfile"
	"github.com/tenure-dev/tenure/drivers/internal/proc"
	"github.com/tenure-dev/tenure/drivers/journal"
)

// The descriptors that the client passes.
const (
	controlFD = 3
	statusFD  = 4
)

// settleLimit bounds the wait for the rest of the output once every process that held it should be dead.
const settleLimit = time.Second

// Main is the hidden subcommand. It must run before anything else in the process: it reads no flag and no environment.
// The result is the exit code of the process, which says only whether the parent itself worked. Leave with syscall.Exit:
// os.Exit of a binary with the race detector takes a second, which every command would last longer.
func Main() int {
	control, answers := os.NewFile(controlFD, "control"), os.NewFile(statusFD, "status")
	if !isPipe(control) || !isPipe(answers) {
		fmt.Fprintln(os.Stderr, "this is an internal command of tenure; it is started by the engine only")
		return 2
	}
	if err := prepareProcess(); err != nil {
		report(answers, startFailedBy("parent", "prepare", err))
		return 1
	}
	signals := catchSignals()
	r := bufio.NewReader(control)
	spec, err := readSpec(r)
	if err != nil {
		report(answers, startFailedBy("parent", "spec", err))
		return 1
	}
	if spec.Inside != nil {
		return runInside(spec, r, answers)
	}
	p := &parent{
		spec: spec, signals: signals, requests: make(chan killRequest, 1), readControl: readControl,
		report: func(s status) { report(answers, s) },
	}
	if err := p.run(r); err != nil {
		report(answers, startStatus(err))
		return 1
	}
	return 0
}

// catchSignals returns those that end the command. They must be caught, not ignored, so that the command starts with the
// defaults; the same holds for SIGXFSZ, the other face of a full disk.
func catchSignals() chan os.Signal {
	defaultSignals()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT)
	signal.Notify(make(chan os.Signal, 1), unix.SIGXFSZ, unix.SIGPIPE)
	return signals
}

func isPipe(f *os.File) bool {
	if f == nil {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&fs.ModeNamedPipe != 0
}

// prepareProcess makes this process what the package comment promises.
func prepareProcess() error {
	unix.Umask(0o022)
	// Nothing that the engine's own parent left open reaches the command.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("mark descriptors close-on-exec: %w", err)
	}
	unix.CloseOnExec(controlFD)
	unix.CloseOnExec(statusFD)
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("become non-dumpable: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	if os.Geteuid() == 0 {
		if err := syscall.Setgroups(nil); err != nil {
			return fmt.Errorf("drop supplementary groups: %w", err)
		}
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("leave the engine's directory: %w", err)
	}
	return nil
}

// parent runs one command.
type parent struct {
	spec     wireSpec
	report   func(status)
	signals  chan os.Signal
	requests chan killRequest
	// readControl hears what the engine wants, from the start on.
	readControl func(r *bufio.Reader, requests chan<- killRequest)
	sink        sink
	output      *output
	tree        *tree
	sandbox     *sandbox // nil for a command that runs in none
}

// sink takes the output: the journal, or a link to who keeps one.
type sink interface {
	Append(s journal.Stream, data []byte)
	Seal(state drivers.OutputState) (drivers.OutputSeal, error)
}

// run executes the command, with its output and its result in the journal directory, and reports the result. An error
// means that it did not start.
func (p *parent) run(r *bufio.Reader) error {
	dir := string(p.spec.JournalDir)
	w, err := journal.Create(dir, journal.Options{})
	if err != nil {
		return journalFailed(err)
	}
	p.sink = w
	record, err := atomicfile.Reserve(resultPath(dir), resultSpace, 0o600)
	if err != nil {
		return errors.Join(journalFailed(err), p.sealUnused())
	}
	result, err := p.execute(r)
	if err != nil {
		return errors.Join(err, record.Discard(), p.sealUnused())
	}
	b, err := json.Marshal(result)
	if err == nil {
		err = record.Commit(b)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "write result:", err) // the engine hears it all the same
	}
	p.report(status{Result: &result})
	return nil
}

// execute runs the command to its end. An error means that it did not start.
func (p *parent) execute(r *bufio.Reader) (drivers.ExecResult, error) {
	process, nr, err := p.start(r)
	if err != nil {
		return drivers.ExecResult{}, err
	}
	p.report(status{Started: &process})
	if nr != nil {
		p.sink.Append(journal.Stderr, []byte("tenure: "+nr.message+"\n"))
		result := drivers.ExecResult{End: drivers.ExecExited, ExitCode: nr.exitCode}
		result.Output = p.seal(drivers.OutputComplete)
		return result, nil
	}
	if p.sandbox == nil { // else it reads already
		go p.readControl(r, p.requests)
	}
	return p.supervise(), nil
}

// start executes the command, or says why its program cannot be run.
func (p *parent) start(r *bufio.Reader) (drivers.Process, *notRun, error) {
	stdin, err := stdinFile(r, p.spec.StdinBytes, p.spec.Credential)
	if err != nil {
		return drivers.Process{}, nil, startFailedBy("process", "stdin", err).StartFailed
	}
	defer stdin.Close() //nolint:errcheck // the command has its own
	if p.output, err = openOutput(p.spec.Credential); err != nil {
		return drivers.Process{}, nil, startFailedBy("process", "pipe", err).StartFailed
	}
	if p.spec.Sandbox != nil {
		return p.startSandboxed(r, stdin)
	}
	c, nr, sf := start(p.spec, []uintptr{stdin.Fd(), p.output.writers[0], p.output.writers[1]})
	if sf != nil {
		return drivers.Process{}, nil, sf
	}
	p.output.copyTo(p.sink)
	if nr != nil {
		self, err := proc.Identity(os.Getpid())
		if err != nil {
			return drivers.Process{}, nil, startFailedBy("process", "identify", err).StartFailed
		}
		return self, nr, nil
	}
	// Not reaped yet, so the pid cannot be anybody else's.
	process, err := proc.Identity(c.pid)
	p.tree = watch(*c, lookSoon)
	if err != nil {
		p.tree.kill()
		return drivers.Process{}, nil, startFailedBy("process", "identify", err).StartFailed
	}
	return process, nil, nil
}

// supervise waits for the command's end, or brings it about, and for that of everything it left behind.
func (p *parent) supervise() drivers.ExecResult {
	result := p.awaitMain()
	held := false
	if result.End == "" {
		p.exited(&result)
		held = !p.drain()
	}
	result.Leftovers = p.tree.kill()
	if !p.output.settle(settleLimit) {
		held = true
	}
	state := drivers.OutputComplete
	if held {
		state = drivers.OutputAbandoned
	}
	result.Output = p.seal(state)
	return result
}

// awaitMain returns once the main process has exited, or was told to end and has had its grace. The result's End is empty
// in the first case.
func (p *parent) awaitMain() drivers.ExecResult {
	var deadline <-chan time.Time
	if p.spec.Timeout > 0 {
		timer := time.NewTimer(p.spec.Timeout)
		defer timer.Stop()
		deadline = timer.C
	}
	var result drivers.ExecResult
	grace := p.spec.Grace
	select {
	case <-p.mainEnded():
		return result
	case <-deadline:
		result.End = drivers.ExecTimedOut
	case k := <-p.requests:
		result.End, result.Why = drivers.ExecKilled, k.Why
		if k.Now {
			grace = 0
		}
	case <-p.signals:
		result.End, result.Why = drivers.ExecKilled, "parent_signaled"
	}
	p.terminate()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	for {
		select {
		case <-p.mainEnded():
			return result
		case <-timer.C:
			return result
		case k := <-p.requests:
			if k.Now {
				return result
			}
		}
	}
}

// mainEnded is closed when the command's main process has ended.
func (p *parent) mainEnded() <-chan struct{} {
	if p.sandbox != nil {
		return p.sandbox.ended
	}
	return p.tree.mainEnded
}

// terminate asks the command's main process to end.
func (p *parent) terminate() {
	if p.sandbox != nil {
		p.sandbox.terminate()
		return
	}
	p.tree.terminate()
}

// exited says how the main process ended by itself.
func (p *parent) exited(result *drivers.ExecResult) {
	ws := p.tree.mainStatus
	if p.sandbox != nil {
		if p.sandbox.mainStatus == nil {
			result.End, result.Why = drivers.ExecUnknown, "sandbox_gone"
			return
		}
		ws = *p.sandbox.mainStatus
	}
	if ws.Signaled() {
		result.End = drivers.ExecSignaled
		if result.Signal = unix.SignalName(ws.Signal()); result.Signal == "" {
			result.Signal = "SIG" + strconv.Itoa(int(ws.Signal()))
		}
	} else {
		result.End, result.ExitCode = drivers.ExecExited, ws.ExitStatus()
	}
}

// drain gives what the command left behind some time to finish its output. It reports whether the output ended.
func (p *parent) drain() bool {
	timer := time.NewTimer(p.spec.Drain)
	defer timer.Stop()
	select {
	case <-p.output.done:
		return true
	case <-timer.C:
	case <-p.requests:
	case <-p.signals:
	}
	select {
	case <-p.output.done:
		return true
	default:
		return false
	}
}

// readControl passes on what the engine wants until the engine is gone.
func readControl(r *bufio.Reader, requests chan<- killRequest) {
	d := json.NewDecoder(r)
	for {
		var c control
		if err := d.Decode(&c); err != nil {
			requests <- killRequest{Why: engineGone}
			return
		}
		if c.Kill != nil {
			requests <- *c.Kill
		}
	}
}

// engineGone is why a command was ended when nobody is there any more who wanted it.
const engineGone = "engine_gone"

func (p *parent) seal(state drivers.OutputState) drivers.OutputSeal {
	seal, err := p.sink.Seal(state)
	if err != nil {
		fmt.Fprintln(os.Stderr, "seal:", err)
		seal.State = drivers.OutputLost
	}
	return seal
}

// sealUnused closes the journal of a command that did not start, so that nobody follows it.
func (p *parent) sealUnused() error {
	_, err := p.sink.Seal(drivers.OutputComplete)
	return err
}
