package ssh

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
)

// end is the parent's last word.
type end struct {
	how       string
	code      int
	signal    string
	leftovers int
	held      bool
}

// parseProcess reads which process a command is, and which its parent is, if it has one.
func parseProcess(data []byte) (who, parent drivers.Process, err error) {
	parts := strings.Split(string(data), "\x00")
	if len(parts) != 3 && len(parts) != 5 {
		return who, parent, errors.New("no process")
	}
	identify := func(pid, start string) (p drivers.Process) {
		var err1, err2 error
		p.PID, err1 = strconv.Atoi(pid)
		p.StartTime, err2 = strconv.ParseUint(start, 10, 64)
		p.BootID, err = strings.TrimSpace(parts[2]), errors.Join(err, err1, err2)
		return p
	}
	who = identify(parts[0], parts[1])
	if len(parts) == 5 {
		parent = identify(parts[3], parts[4])
	}
	return who, parent, err
}

func startFailed(data []byte) error {
	parts := strings.SplitN(string(data), "\x00", 3)
	for len(parts) < 3 {
		parts = append(parts, "")
	}
	f := &drivers.StartError{Stage: parts[0], Code: parts[1], Err: errors.New(clip(parts[2], 4096)), Remediation: "look at the host; the message is that of its own program"}
	switch f.Code {
	case drivers.CodeStaleFence:
		f.Remediation = "acquire a new lease: this one is over"
	case "runtime_busy":
		f.Remediation = "start it again, under a new id"
	case "runtime_gone":
		f.Err, f.Remediation = drivers.ErrGone, "acquire a new lease"
	case "cwd_not_found", "cwd_unusable":
		f.Remediation = "name a directory that exists and that the command's user may enter"
	case "too_large":
		f.Remediation = "pass large data on stdin or in a file"
	}
	return f
}

func parseEnd(data []byte) (*end, error) {
	parts := strings.Split(string(data), "\x00")
	if len(parts) != 4 {
		return nil, errors.New("no end")
	}
	code, err1 := strconv.Atoi(parts[1])
	left, err2 := strconv.Atoi(parts[2])
	return &end{how: parts[0], code: code, signal: signalName(code), leftovers: left, held: parts[3] == "1"}, errors.Join(err1, err2)
}

// settle says how the command ended. Only the parent's last word together with the server's own, that the parent exited
// as it should, is an end; anything less is unknown. Where there is no parent the server's word is all there is.
func (s *process) settle(e *end) {
	if s.raw {
		e = s.rawEnd()
	} else if !s.ch.end.status || s.ch.end.code != 0 {
		e = nil
	}
	s.mu.Lock()
	ending, swept, cut, why := s.ending, s.swept, s.cut, s.killWhy
	s.mu.Unlock()
	r := drivers.ExecResult{}
	state := drivers.OutputComplete
	switch {
	case e != nil && e.held, cut:
		state = drivers.OutputAbandoned
	case e == nil:
		state = drivers.OutputLost
	}
	switch {
	case e == nil && ending != "" && swept:
		r.End = ending
	case e == nil:
		r.End, r.Why = drivers.ExecUnknown, s.whyUnknown()
	case e.how == "exited":
		r.End, r.ExitCode, r.Leftovers = drivers.ExecExited, e.code, e.leftovers
	case e.how == "signaled":
		r.End, r.Signal, r.Leftovers = drivers.ExecSignaled, e.signal, e.leftovers
	case e.how == "timeout":
		r.End, r.Leftovers = drivers.ExecTimedOut, e.leftovers
	default:
		r.End, r.Leftovers = drivers.ExecKilled, e.leftovers
	}
	if r.End == drivers.ExecKilled {
		if r.Why = why; why == "" {
			r.Why = "engine_gone"
		}
	}
	if (e == nil || s.raw) && s.told && s.Process().PID != 0 && !swept {
		s.sweepAfter(&r)
	}
	seal, err := s.journal.Seal(state)
	if err != nil {
		seal.State = drivers.OutputLost
	}
	r.Output = seal
	s.result = r
}

// rawEnd is the end of a command without a parent; nil if the server did not say.
func (s *process) rawEnd() *end {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &end{held: s.held, code: s.ch.end.code, signal: "SIG" + s.ch.end.signal}
	said := s.ch.end.status || s.ch.end.signal != ""
	switch {
	case s.ending == drivers.ExecTimedOut && (s.swept || said):
		e.how = "timeout"
	case s.ending != "" && (s.swept || said):
		e.how = "killed"
	case s.ch.end.signal != "":
		e.how = "signaled"
	case s.ch.end.status:
		e.how = "exited"
	default:
		return nil
	}
	return e
}

// sweepAfter ends what a command left behind that had no parent, or lost it. Over a broken link that has to wait for the
// release.
func (s *process) sweepAfter(r *drivers.ExecResult) {
	if s.ch.lost() {
		return
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), endLimit, errors.New("the command's children do not end"))
	defer cancel()
	if s.sweep(ctx, s.Process(), 0) != nil {
		r.Leftovers = 1 // at least: nobody could look
	}
}

func (s *process) whyUnknown() string {
	switch {
	case s.ch.lost():
		return "link_lost"
	case !s.ch.end.status && s.ch.end.signal == "":
		return "no_exit_status"
	default:
		return "parent_gone"
	}
}

func signalName(n int) string {
	if name := unix.SignalName(syscall.Signal(n)); name != "" {
		return name
	}
	return "SIG" + strconv.Itoa(n)
}
