package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// command is a command to run.
type command struct {
	argv    []string
	cwd     string
	env     []drivers.EnvVar
	stdin   []byte
	timeout time.Duration
	// credit is what may be sent before more is allowed; 0 is 256 KiB, renewed as it is used.
	credit int64
	hold   bool
}

// done is a command that ended.
type done struct {
	drivers.ExecResult
	out, err []byte
}

// streams reports whether commands are run through the extension.
func (s *session) streams() bool { return s.ext && s.about.Exec }

// executes says why commands cannot be checked; "" if they can.
func executes(s *session) string {
	if !s.streams() && !s.methods[protocol.MethodExecute] {
		return "the driver runs no commands"
	}
	return ""
}

// streaming says why a check of the extension's way to run commands does not apply.
func streaming(s *session) string {
	if !s.streams() {
		return "the worker does not speak the extension for commands"
	}
	return ""
}

// start starts a command through the extension.
func (s *session) start(ctx context.Context, l *lease, c command) (string, *running, error) {
	w, err := s.host.worker(ctx)
	if err != nil {
		return "", nil, err
	}
	if c.credit == 0 {
		c.credit = 256 << 10
	}
	id := uuid.NewString()
	r := &running{credit: c.credit, hold: c.hold, ended: make(chan struct{}), news: make(chan struct{}, 1)}
	w.mu.Lock()
	w.runs[id] = r
	w.mu.Unlock()
	p := protocol.ExecStartParams{
		LeaseParams: s.leaseParams(l), ExecID: id, Cwd: []byte(c.cwd), Stdin: c.stdin, TimeoutMs: c.timeout.Milliseconds(), Credit: c.credit,
	}
	for _, arg := range c.argv {
		p.Argv = append(p.Argv, []byte(arg))
	}
	for _, v := range c.env {
		p.Env = append(p.Env, protocol.ExecValue{Name: []byte(v.Name), Value: []byte(v.Value)})
	}
	return id, r, s.call(ctx, l.company, protocol.MethodExecStart, p, nil)
}

func (s *session) kill(ctx context.Context, l *lease, id, why string) error {
	return s.call(ctx, l.company, protocol.MethodExecKill, protocol.ExecKillParams{ExecID: id, Why: why}, nil)
}

// finish waits for the end of a command.
func (s *session) finish(ctx context.Context, r *running) (done, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.opts.CallTimeout, fmt.Errorf("the command's end was not told within %s", s.opts.CallTimeout))
	defer cancel()
	select {
	case <-r.ended:
	case <-ctx.Done():
		return done{}, context.Cause(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.beyond > 0 {
		return done{}, fmt.Errorf("%d bytes of output came without credit", r.beyond)
	}
	return done{ExecResult: r.result, out: r.out, err: r.err}, nil
}

// run runs a command to its end, in the way that the worker has.
func (s *session) run(ctx context.Context, l *lease, c command) (done, error) {
	if s.streams() {
		_, r, err := s.start(ctx, l, c)
		if err != nil {
			return done{}, err
		}
		return s.finish(ctx, r)
	}
	p := protocol.ExecuteParams{
		Base: s.base(l), Lease: l.got, Command: c.argv[0], Args: c.argv[1:], Cwd: c.cwd, TimeoutMs: c.timeout.Milliseconds(),
		Tenure: l.token,
	}
	if c.env != nil {
		p.Env = map[string]string{}
		for _, v := range c.env {
			p.Env[v.Name] = v.Value
		}
	}
	if c.stdin != nil {
		text := string(c.stdin)
		p.Stdin = &text
	}
	var r protocol.ExecuteResult
	if err := s.call(ctx, l.company, protocol.MethodExecute, p, &r); err != nil {
		return done{}, err
	}
	d := done{out: []byte(r.Stdout), err: []byte(r.Stderr)}
	switch {
	case r.TimedOut:
		d.End = drivers.ExecTimedOut
	case r.ExitCode != nil:
		d.End, d.ExitCode = drivers.ExecExited, *r.ExitCode
	case r.Signal != nil:
		d.End, d.Signal = drivers.ExecSignaled, *r.Signal
	default:
		return d, errors.New("the result has neither an exit code nor a signal nor a timeout")
	}
	return d, nil
}

// exited is run that expects an exit code.
func (s *session) exited(ctx context.Context, l *lease, code int, c command) (done, error) {
	d, err := s.run(ctx, l, c)
	if err != nil {
		return d, fmt.Errorf("%q: %w", c.argv[0], err)
	}
	if d.End != drivers.ExecExited || d.ExitCode != code {
		return d, fmt.Errorf("%q ended as %s with code %d, and should have exited with %d; it wrote %q on stderr", c.argv[0], d.End, d.ExitCode, code, clip(d.err))
	}
	return d, nil
}

// posix reports whether commands are programs of a POSIX system. A worker without them runs at least echo, cat, false and
// sleep.
func (s *session) posix(ctx context.Context) (bool, error) {
	if s.shell != nil {
		return *s.shell, nil
	}
	l, err := s.acquired(ctx)
	if err != nil {
		return false, err
	}
	d, err := s.run(ctx, l, command{argv: []string{"sh", "-c", "exit 42"}})
	if err != nil {
		return false, fmt.Errorf("sh: %w", err)
	}
	is := d.End == drivers.ExecExited && d.ExitCode == 42
	s.shell = &is
	return is, nil
}

func clip(b []byte) []byte {
	const most = 200
	if len(b) > most {
		return b[:most]
	}
	return b
}
