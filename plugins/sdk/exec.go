package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/journal"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// execution is one command, from before it starts until everything about it has been told.
type execution struct {
	id      string
	journal string
	credit  *credit
	// ready is closed when exec is set, or is known to stay nil because the command did not start.
	ready   chan struct{}
	exec    drivers.Exec
	process drivers.Process
	// told is closed when the command has ended and nothing more is said of it.
	told chan struct{}
}

// immediate is an [drivers.Exec] that can be ended without grace.
type immediate interface {
	KillNow(why string) error
}

// begin starts a command. On success the caller tells its end and then calls s.forget.
func (s *server) begin(ctx context.Context, d drivers.Driver, req drivers.ExecRequest, credit *credit) (*execution, error) {
	e := &execution{id: req.ExecID, credit: credit, ready: make(chan struct{}), told: make(chan struct{})}
	if err := s.register(e); err != nil {
		return nil, err
	}
	started := false
	defer func() { // also when the driver panics
		close(e.ready)
		if started {
			return
		}
		if e.exec != nil { // it runs, and nobody will ever hear of it
			_ = e.exec.Kill(context.WithoutCancel(ctx), "start_failed")
		}
		s.forget(e)
	}()
	e.journal = s.scratch.journal()
	req.JournalDir = e.journal
	running, err := drivers.StartExec(ctx, d, req)
	if err != nil {
		return nil, err
	}
	e.exec = running // not what a failed start returned
	e.process = running.Process()
	started = true
	return e, nil
}

func (s *server) register(e *execution) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, twice := s.execs[e.id]; twice {
		return &drivers.StartError{
			Stage: "process", Code: "exec_exists", Remediation: "use an id once", Err: errors.New("a command with this id runs already"),
		}
	}
	s.execs[e.id] = e
	return nil
}

// forget closes the books on a command that has ended or did not start.
func (s *server) forget(e *execution) {
	s.mu.Lock()
	delete(s.execs, e.id)
	s.mu.Unlock()
	if e.journal != "" {
		if err := os.RemoveAll(e.journal); err != nil {
			s.log.Warn("the output journal of a command stays", "error", err)
		}
	}
	close(e.told)
}

func (s *server) execStart(ctx context.Context, p protocol.ExecStartParams) (any, error) {
	d, err := s.driver(p.DriverKey)
	if err != nil {
		return nil, err
	}
	if p.ExecID == "" {
		return nil, protocol.Errorf(protocol.CodeInvalidParams, "execId is missing")
	}
	req := drivers.ExecRequest{
		Handle: handleOf(p.LeaseParams), ExecID: p.ExecID, Cwd: string(p.Cwd), Stdin: p.Stdin,
		Timeout: time.Duration(p.TimeoutMs) * time.Millisecond, Grace: time.Duration(p.GraceMs) * time.Millisecond,
	}
	for _, arg := range p.Argv {
		req.Argv = append(req.Argv, string(arg))
	}
	for _, v := range p.Env {
		req.Env = append(req.Env, drivers.EnvVar{Name: string(v.Name), Value: string(v.Value)})
	}
	e, err := s.begin(ctx, d, req, newCredit(p.Credit))
	if err != nil {
		return nil, err
	}
	s.streams.Go(func() { s.stream(e) })
	return protocol.ExecStartResult{PID: e.process.PID, StartTime: e.process.StartTime, BootID: e.process.BootID}, nil
}

func (s *server) execKill(ctx context.Context, p protocol.ExecKillParams) error {
	e := s.execution(p.ExecID)
	if e == nil {
		return nil // it has ended
	}
	select {
	case <-e.ready:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if e.exec == nil {
		return nil
	}
	return e.exec.Kill(ctx, p.Why)
}

func (s *server) execution(id string) *execution {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.execs[id]
}

// notification serves the notifications of the host.
func (s *server) notification(n protocol.Notification) {
	if n.Method != protocol.NotifyExecCredit {
		return
	}
	var c protocol.ExecCredit
	if json.Unmarshal(n.Params, &c) != nil || c.Bytes <= 0 {
		return
	}
	if e := s.execution(c.ExecID); e != nil {
		e.credit.add(c.Bytes)
	}
}

// stream tells the output of a command and then its end, once.
func (s *server) stream(e *execution) {
	defer s.forget(e)
	end := s.waitFor(e)
	followed := s.follow(e, end.ended, func(f journal.Frame) error { return s.tell(e, f) })
	<-end.ended
	if end.err != nil {
		return // the worker ends first
	}
	if followed != nil {
		s.log.Warn("the output of a command is lost", "exec", e.id, "error", followed)
		end.result.Output.State = drivers.OutputLost
	}
	raw, err := json.Marshal(end.result)
	if err != nil {
		s.log.Error("the result of a command is no JSON", "exec", e.id, "error", err)
		return
	}
	// An error says that the host is gone.
	_ = s.conn.Notify(s.life, protocol.NotifyExecEnd, protocol.ExecEnd{ExecID: e.id, Result: raw})
}

// end is how a command ended; result and err are valid once ended is closed.
type end struct {
	ended  chan struct{}
	result drivers.ExecResult
	err    error
}

func (s *server) waitFor(e *execution) *end {
	w := &end{ended: make(chan struct{})}
	s.streams.Go(func() {
		defer close(w.ended)
		defer func() {
			if what := recover(); what != nil {
				s.sayPanic("the wait for a command", what)
				w.result = drivers.ExecResult{End: drivers.ExecUnknown, Why: "the plugin's driver panicked"}
				w.result.Output.State = drivers.OutputLost
			}
		}()
		w.result, w.err = e.exec.Wait(s.life)
	})
	return w
}

// follow delivers the journal of a command until it has ended and all of it was delivered. Unlike [journal.Reader.Follow] it
// knows when the command has ended, so that the last bytes of a quiet one do not wait for the next look.
func (s *server) follow(e *execution, ended <-chan struct{}, deliver func(journal.Frame) error) error {
	r, err := journal.Open(e.journal, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	const shortest, longest = 2 * time.Millisecond, 50 * time.Millisecond
	wait, over := shortest, false
	for {
		f, err := r.Next()
		switch {
		case err == nil:
			if err := deliver(f); err != nil {
				return err
			}
			wait = shortest
			continue
		case !errors.Is(err, io.EOF):
			return err
		case over:
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-ended:
			over = true
		case <-timer.C:
			wait = min(2*wait, longest)
		}
		timer.Stop()
	}
}

// tell sends one piece of output as the credit allows.
func (s *server) tell(e *execution, f journal.Frame) error {
	if f.Dropped > 0 {
		return s.conn.Notify(s.life, protocol.NotifyExecOutput, protocol.ExecOutput{ExecID: e.id, Stream: int(f.Stream), Dropped: f.Dropped})
	}
	for len(f.Data) > 0 {
		n, err := e.credit.take(s.conn.Done(), s.life.Done(), len(f.Data))
		if err != nil {
			return err
		}
		if err := s.conn.Notify(s.life, protocol.NotifyExecOutput, protocol.ExecOutput{
			ExecID: e.id, Stream: int(f.Stream), Data: f.Data[:n],
		}); err != nil {
			return err
		}
		f.Data = f.Data[n:]
	}
	return nil
}

// endExecs ends every command: politely, after grace at once, and gives up on them at limit.
func (s *server) endExecs(why string, grace, limit time.Duration) {
	s.mu.Lock()
	var all []*execution
	for _, e := range s.execs {
		all = append(all, e)
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var ending sync.WaitGroup
	for _, e := range all {
		ending.Go(func() { s.endExec(ctx, e, why, grace) })
	}
	ending.Wait()
}

func (s *server) endExec(ctx context.Context, e *execution, why string, grace time.Duration) {
	select {
	case <-e.ready:
	case <-ctx.Done():
		return
	}
	if e.exec == nil {
		return
	}
	now, hard := e.exec.(immediate)
	if grace > 0 || !hard {
		_ = e.exec.Kill(ctx, why) // whether it worked is seen below
	}
	if hard {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-e.told:
			return
		case <-timer.C:
			_ = now.KillNow(why)
		case <-ctx.Done():
			_ = now.KillNow(why)
		}
	}
	select {
	case <-e.told:
	case <-ctx.Done():
		s.log.Error("a command outlives the worker", "exec", e.id)
	}
}

// credit is how much output the host still wants.
type credit struct {
	mu   sync.Mutex
	left int64
	more chan struct{} // has an element if left was raised since somebody looked
}

func newCredit(n int64) *credit { return &credit{left: max(n, 0), more: make(chan struct{}, 1)} }

func (c *credit) add(n int64) {
	c.mu.Lock()
	c.left += n
	c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// take waits until anything may be sent and takes at most want of it. One goroutine takes.
func (c *credit) take(closed, over <-chan struct{}, want int) (int, error) {
	for {
		c.mu.Lock()
		n := min(c.left, int64(want))
		c.left -= n
		c.mu.Unlock()
		if n > 0 {
			return int(n), nil
		}
		select {
		case <-c.more:
		case <-closed:
			return 0, protocol.ErrClosed
		case <-over:
			return 0, errClosing
		}
	}
}
