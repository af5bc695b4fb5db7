package ssh

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/journal"
)

const (
	// stdinWindow is how much of a command's stdin may be on its way before the command has read it.
	stdinWindow = 1 << 20
	stdinChunk  = 32 << 10
	// maxNoise bounds what a login shell may print before the parent speaks.
	maxNoise = 64 << 10
	// keptNoise is how much of it an error shows of each stream.
	keptNoise = 200
	// maxFrame bounds what the parent says at once.
	maxFrame = 1 << 20
	// endLimit is what an end may take beyond its grace before it is brought about another way.
	endLimit = 15 * time.Second
	// settleLimit bounds the wait for the rest of the output once every process that held it should be dead.
	settleLimit = time.Second
)

// spec is what to run.
type spec struct {
	req          drivers.ExecRequest
	env          []drivers.EnvVar
	marker, lock string
	drain        time.Duration
}

// process is a command on a host. It implements [drivers.Exec].
type process struct {
	pool    *pool
	pins    []string
	spec    spec
	journal *journal.Writer
	ch      *channel
	// complaints and chatter are what came on the second and the first stream before the command's own words.
	complaints, chatter capped

	sending sync.Mutex // of what is written to the channel; its holder may block

	mu          sync.Mutex
	who, parent drivers.Process
	killWhy     string
	// ending is the end that was brought about over another channel; swept says that it worked, cut that the channel was
	// closed over it, held that something held the output of a command without a parent.
	ending           drivers.ExecEnd
	swept, cut, held bool
	brought          chan struct{} // closed when swept is valid

	// raw says that the command has no parent: its output is the channel's own.
	raw    bool
	credit chan int
	first  chan error
	told   bool // only follow looks at it
	done   chan struct{}
	result drivers.ExecResult // valid once done is closed
}

// Done is closed when it has ended.
func (s *process) Done() <-chan struct{} { return s.done }

// begin starts the command and returns once it runs. Its error means that it does not.
func (s *process) begin(ctx context.Context) error {
	t, err := s.pool.toolsOf(ctx, s.pins)
	if err != nil {
		return cancelOr(ctx, drivers.NotStarted("process", "host_unreachable", err))
	}
	l, err := s.spec.launch(t)
	if err != nil {
		return err
	}
	if s.ch, err = s.pool.channel(ctx, s.pins); err != nil {
		return cancelOr(ctx, drivers.NotStarted("process", "host_unreachable", err))
	}
	if err := s.ch.start(ctx, l.command); err != nil {
		return cancelOr(ctx, drivers.NotStarted("process", "host_unreachable", err))
	}
	s.raw = !l.parent
	s.credit = make(chan int, 64)
	s.first = make(chan error, 1)
	go s.follow()
	stdin := s.spec.req.Stdin
	stop := context.AfterFunc(ctx, func() { _ = s.ch.Close() }) // ends a send to a login shell that does not read
	err = s.send(l.input)
	stop()
	if err != nil {
		// Less than the whole spec arrived, so nothing can have been started. What ended before it read all may have said why.
		_ = s.ch.Close()
		<-s.done
		if err := <-s.first; err != nil {
			return cancelOr(ctx, err)
		}
		return cancelOr(ctx, drivers.NotStarted("process", "", failedAt(phaseStart, "link_lost", errLinkLost)))
	}
	s.spec.env, s.spec.req.Env, s.spec.req.Stdin = nil, nil, nil // secrets are not kept for the life of the command
	if s.raw {
		go s.pour(stdin)
	} else {
		go s.feed(stdin)
	}
	select {
	case err := <-s.first:
		if err != nil {
			<-s.done
			return err
		}
		s.watchTime()
		return nil
	case <-ctx.Done():
		s.kill("canceled", 0)
		limit := time.AfterFunc(endLimit, func() { _ = s.ch.Close() })
		defer limit.Stop()
		<-s.done
		return context.Cause(ctx)
	}
}

// tell says, once, whether the command runs.
func (s *process) tell(err error) {
	if !s.told {
		s.told = true
		s.first <- err
	}
}

// watchTime ends a command whose time is up. A parent does that by itself, so it gets some more to do it.
func (s *process) watchTime() {
	limit := s.spec.req.Timeout
	if limit <= 0 {
		return
	}
	if !s.raw {
		limit += s.spec.req.Grace + endLimit
	}
	timer := time.AfterFunc(limit, func() { s.bringDown(drivers.ExecTimedOut, s.spec.req.Grace) })
	go func() {
		<-s.done
		timer.Stop()
	}()
}

// bringDown ends the command over another channel: the parent, if there is one, does not answer.
func (s *process) bringDown(how drivers.ExecEnd, grace time.Duration) {
	s.mu.Lock()
	first := s.ending == ""
	if first {
		s.ending = how
	}
	s.mu.Unlock()
	if !first {
		return
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), grace+endLimit, errors.New("the command does not end"))
	defer cancel()
	err := s.sweep(ctx, s.Process(), grace)
	s.mu.Lock()
	s.swept = err == nil
	s.mu.Unlock()
	close(s.brought)
	limit := time.NewTimer(s.spec.drain)
	defer limit.Stop()
	select {
	case <-s.ch.ended:
		return
	case <-limit.C:
	}
	_ = s.ch.Close()
	s.mu.Lock()
	s.cut = true
	s.mu.Unlock()
	s.hunt()
}

// hunt ends what keeps the server from closing the channel: a launcher that was not there yet when the command was swept
// away, or a parent that was stopped.
func (s *process) hunt() {
	ctx, cancel := context.WithTimeoutCause(context.Background(), endLimit, errors.New("the command does not end"))
	defer cancel()
	s.mu.Lock()
	parent := s.parent
	s.mu.Unlock()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		_ = s.sweep(ctx, parent, 0) // the channel's end tells whether it worked
		select {
		case <-s.ch.ended:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sweep ends a process and its group, with their grace, and everything that has the command's id in its environment.
func (s *process) sweep(ctx context.Context, p drivers.Process, grace time.Duration) error {
	_, err := s.pool.run(ctx, s.pins, stopScript, variable{"own", execVar + "=" + s.spec.req.ExecID},
		variable{"pid", strconv.Itoa(p.PID)}, variable{"start", strconv.FormatUint(p.StartTime, 10)},
		variable{"grace", strconv.FormatInt(grace.Milliseconds(), 10)})
	return err
}

// runs notes which process the command is, and which its parent is, if it has one.
func (s *process) runs(who, parent drivers.Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.who, s.parent = who, parent
}

func cancelOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Process implements [drivers.Exec].
func (s *process) Process() drivers.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.who
}

// Wait implements [drivers.Exec].
func (s *process) Wait(ctx context.Context) (drivers.ExecResult, error) {
	select {
	case <-s.done:
		return s.result, nil
	default:
	}
	select {
	case <-s.done:
		return s.result, nil
	case <-ctx.Done():
		return drivers.ExecResult{}, context.Cause(ctx)
	}
}

// Kill implements [drivers.Exec]. It returns when the request is on its way; Wait tells when the command has ended.
func (s *process) Kill(_ context.Context, why string) error {
	s.kill(why, s.spec.req.Grace)
	return nil
}

func (s *process) kill(why string, grace time.Duration) {
	select {
	case <-s.done:
		return
	default:
	}
	s.mu.Lock()
	again := s.killWhy != ""
	if !again {
		s.killWhy = why
	}
	s.mu.Unlock()
	if again && grace > 0 {
		return
	}
	go func() {
		if s.raw {
			s.bringDown(drivers.ExecKilled, grace)
			return
		}
		// A link that is broken ends the command as well, and a parent that does not answer is gone round.
		answered := make(chan struct{})
		go func() {
			_ = s.sendFrame('K', strconv.FormatInt(grace.Milliseconds(), 10))
			close(answered)
		}()
		limit := time.NewTimer(grace + endLimit)
		defer limit.Stop()
		select {
		case <-s.done:
		case <-limit.C:
			s.bringDown(drivers.ExecKilled, 0)
		}
		<-answered
	}()
}

var _ drivers.Exec = (*process)(nil)
