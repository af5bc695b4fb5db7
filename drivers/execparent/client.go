package execparent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/internal/proc"
	"github.com/tenure-dev/tenure/drivers/journal"
)

// Options say how to start a parent.
type Options struct {
	// Command starts a process that calls [Main]: a program and its arguments.
	Command []string
	// Spawned, if set, learns which process the parent is before it is told what to run. Its error prevents that.
	Spawned func(parent drivers.Process) error
	// Ended, if set, is called once when the parent is gone, whatever happened, also if the command did not start. alone says
	// that the parent saw the end of everything that the command started.
	Ended func(alone bool)
}

// Process is a command under its parent. It implements [drivers.Exec].
type Process struct {
	spec    Spec
	cmd     *exec.Cmd
	parent  drivers.Process
	process drivers.Process
	status  *os.File
	lines   *bufio.Reader
	stderr  tail

	mu      sync.Mutex // of what is written to control
	control *os.File
	hungUp  bool

	done   chan struct{}
	result drivers.ExecResult // valid once done is closed
}

// Start runs a command and returns once it runs. Its error is a [*drivers.StartError]; then nothing runs. If ctx ends
// first, whatever was started is ended at once and the error is ctx's cause.
func Start(ctx context.Context, opts Options, spec Spec) (*Process, error) {
	p := &Process{spec: spec, done: make(chan struct{})}
	if err := p.spawn(opts); err != nil {
		if opts.Ended != nil {
			opts.Ended(true)
		}
		return nil, parentFailed("spawn", err)
	}
	// The parent's first words are awaited in a goroutine of its own, which ends with the parent at the latest.
	first := make(chan error, 1)
	go func() {
		err := p.converse(opts, first)
		p.finish(err)
		if opts.Ended != nil {
			opts.Ended(err == nil && p.result.Leftovers == 0)
		}
		close(p.done)
	}()
	select {
	case err := <-first:
		if err != nil {
			<-p.done
			return nil, err
		}
		return p, nil
	case <-ctx.Done():
		_ = p.KillNow("canceled") // hanging up ends it as well, with the grace
		p.hangUp()
		<-p.done
		return nil, context.Cause(ctx)
	}
}

// spawn starts the parent, in a session of its own, with an empty environment and one pipe each way.
func (p *Process) spawn(opts Options) error {
	if len(opts.Command) == 0 {
		return errors.New("no command for the exec parent is configured")
	}
	controlR, controlW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer controlR.Close() //nolint:errcheck // the parent has its own, or is not there
	statusR, statusW, err := os.Pipe()
	if err != nil {
		return errors.Join(err, controlW.Close())
	}
	defer statusW.Close() //nolint:errcheck // as controlR
	// No context ends it: it has to end its command first, which is what closing its control pipe makes it do.
	p.cmd = exec.CommandContext(context.Background(), opts.Command[0], opts.Command[1:]...)
	p.cmd.Env = []string{}
	p.cmd.Dir = "/"
	p.cmd.Stderr = &p.stderr
	p.cmd.ExtraFiles = []*os.File{controlR, statusW}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.cmd.Start(); err != nil {
		return errors.Join(err, controlW.Close(), statusR.Close())
	}
	p.control, p.status, p.lines = controlW, statusR, bufio.NewReader(statusR)
	return nil
}

// converse sends the spec, passes the answer to first and waits for the result.
func (p *Process) converse(opts Options, first chan<- error) error {
	err := p.begin(opts)
	first <- err
	if err != nil {
		return err
	}
	s, err := p.next()
	if err != nil {
		return err
	}
	if s.Result == nil {
		return errors.New("the exec parent sent no result")
	}
	p.result = *s.Result
	return nil
}

func (p *Process) begin(opts Options) error {
	var err error
	if p.parent, err = proc.Identity(p.cmd.Process.Pid); err != nil {
		return parentFailed("identify", err)
	}
	if opts.Spawned != nil {
		if err := opts.Spawned(p.parent); err != nil {
			return parentFailed("record", err)
		}
	}
	// A parent that gives up early breaks the pipe; its own words say more than that error.
	p.mu.Lock()
	sendErr := writeSpec(p.control, p.spec)
	p.mu.Unlock()
	p.spec = Spec{JournalDir: p.spec.JournalDir} // the secrets are not kept for the life of the command
	s, err := p.next()
	switch {
	case err != nil:
		return parentFailed("answer", errors.Join(sendErr, err))
	case s.StartFailed != nil:
		f := s.StartFailed
		return &drivers.StartError{Stage: f.Stage, Code: f.Code, Remediation: f.Remediation, Err: f}
	case s.Started == nil:
		return parentFailed("answer", errors.New("the exec parent said neither started nor failed"))
	}
	p.process = *s.Started
	return nil
}

func (p *Process) next() (status, error) {
	var s status
	line, err := p.lines.ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return s, errors.New("the exec parent ended without a word" + p.stderr.String())
	}
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(line, &s)
}

// finish waits for the parent's end. If the parent died over the command, it ends what it can still name and settles
// what is known: the result file if there is one, else unknown.
func (p *Process) finish(failure error) {
	p.hangUp()
	_ = p.cmd.Wait() // the exit code of the parent says nothing about the command
	_ = p.status.Close()
	if failure == nil || p.process.PID == 0 {
		return
	}
	if r, err := ReadResult(p.spec.JournalDir); err == nil {
		p.result = r
		return
	}
	if proc.Alive(p.process) {
		_ = unix.Kill(-p.process.PID, unix.SIGKILL)
		_ = proc.Signal(p.process.PID, p.process.StartTime, unix.SIGKILL)
	}
	p.result = drivers.ExecResult{End: drivers.ExecUnknown, Why: "parent_gone"}
	seal, err := journal.Recover(p.spec.JournalDir)
	if err != nil {
		seal = drivers.OutputSeal{State: drivers.OutputLost}
	}
	p.result.Output = seal
}

// hangUp closes the control pipe: a parent that lives ends the command.
func (p *Process) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.hungUp {
		_ = p.control.Close()
		p.hungUp = true
	}
}

// Process is the command's main process.
func (p *Process) Process() drivers.Process { return p.process }

// Parent is the parent process.
func (p *Process) Parent() drivers.Process { return p.parent }

// Done is closed when the command has ended and its output is sealed.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait implements [drivers.Exec].
func (p *Process) Wait(ctx context.Context) (drivers.ExecResult, error) {
	select {
	case <-p.done:
		return p.result, nil
	default:
	}
	select {
	case <-p.done:
		return p.result, nil
	case <-ctx.Done():
		return drivers.ExecResult{}, context.Cause(ctx)
	}
}

// Kill implements [drivers.Exec]. It returns when the request is sent; Wait tells when the command has ended.
func (p *Process) Kill(_ context.Context, why string) error {
	return p.send(control{Kill: &killRequest{Why: why}})
}

// KillNow is Kill without the grace.
func (p *Process) KillNow(why string) error {
	return p.send(control{Kill: &killRequest{Why: why, Now: true}})
}

func (p *Process) send(c control) error {
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("kill command: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hungUp {
		return nil // it has ended
	}
	_, err = p.control.Write(append(b, '\n'))
	if err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("kill command: %w", err)
	}
	return nil
}

func parentFailed(code string, err error) *drivers.StartError {
	f := &drivers.StartError{
		Stage: "parent", Code: code, Err: err, Remediation: seeMachine,
	}
	orDiskFull(err, &f.Code, &f.Remediation)
	return f
}

// tail keeps the last words of a parent that crashed.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const most = 2048
	t.b = append(t.b, p...)
	if len(t.b) > most {
		t.b = append(t.b[:0], t.b[len(t.b)-most:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.b) == 0 {
		return ""
	}
	return ": " + string(t.b)
}

var _ drivers.Exec = (*Process)(nil)
