package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// postmaster is one life of the server: launched here, or adopted from an engine that died.
type postmaster struct {
	pid     int
	at      address
	adopted bool
	// exited closes when the process is gone, or when unwatch was called.
	exited  chan struct{}
	unwatch context.CancelFunc
	// logFrom is where its output begins in the log.
	logFrom int64
}

// launch starts a postmaster. Call it only after settle found none.
func (s *Server) launch() (*postmaster, error) {
	dir, err := s.cluster.socketDir()
	if err != nil {
		return nil, err
	}
	// Connection strings are already handed out at a restart: the address stays, or the restart waits.
	at, err := freeAddress(dir, s.at.port)
	if err != nil {
		return nil, err
	}
	if s.at.port != 0 && at != s.at {
		return nil, fmt.Errorf("the socket directory %s can no longer be used", s.at.dir)
	}
	if err := s.cluster.configure(at, s.opts.Settings, s.opts.NoSync); err != nil {
		return nil, err
	}
	out, err := s.log.open()
	if err != nil {
		return nil, dataDirError(s.cluster.dataDir, err)
	}
	defer out.Close() //nolint:errcheck // the server writes to its own
	info, err := out.Stat()
	if err != nil {
		return nil, err
	}
	// Its life does not end with any context: it outlives even this process, and Stop is the only way to end it.
	cmd := s.cluster.acct.command(context.Background(), s.cluster.dir, s.cluster.bins.postgres, "-D", s.cluster.dir)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return nil, &Error{Code: CodeStartFailed, What: "Postgres cannot be started", Cause: err, Remediation: "correct the cause and start again"}
	}
	pm := &postmaster{pid: cmd.Process.Pid, at: at, exited: make(chan struct{}), unwatch: func() {}, logFrom: info.Size()}
	go func() {
		defer close(pm.exited)
		// How it ended is in its log; that it ended is what counts.
		_ = cmd.Wait()
	}()
	return pm, nil
}

// adopt takes over the live postmaster pid, which is nobody's child here, so its end has to be looked for.
func (s *Server) adopt(pid int) *postmaster {
	watch, unwatch := context.WithCancel(context.Background())
	pm := &postmaster{pid: pid, adopted: true, exited: make(chan struct{}), unwatch: unwatch}
	if info, err := os.Stat(s.log.path); err == nil {
		pm.logFrom = info.Size()
	}
	go func() {
		defer close(pm.exited)
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for watch.Err() == nil && s.cluster.serves(pid) {
			<-tick.C
		}
	}()
	return pm
}

// errUnreachable: a live server of ours that does not listen where it should.
var errUnreachable = errors.New("the server does not answer on its socket")

// awaitReady waits until the server answers. As long as it says that it is recovering, it may take the time it needs: killing it
// would only begin the recovery anew.
func (s *Server) awaitReady(ctx context.Context, pm *postmaster) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	silent := time.NewTimer(s.opts.StartTimeout)
	defer silent.Stop()
	note := time.NewTicker(5 * time.Second)
	defer note.Stop()
	for {
		last := s.answer(ctx, pm)
		switch {
		case last == nil:
			return nil
		case errors.Is(last, errRecovering):
			silent.Reset(s.opts.StartTimeout)
		case permanent(last):
			return last
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for Postgres: %w (last answer: %w)", context.Cause(ctx), last)
		case <-pm.exited:
			return errExited
		case <-silent.C:
			return fmt.Errorf("no usable answer for %s: %w", s.opts.StartTimeout, last)
		case <-note.C:
			// A server that could not even write its pid file never says that it is ready.
			if !errors.Is(last, errRecovering) && freeSpace(s.cluster.dir) == 0 {
				return last
			}
			s.opts.Logger.Info("waiting for postgres", "pid", pm.pid, "recovering", errors.Is(last, errRecovering))
		case <-tick.C:
		}
	}
}

// answer asks the server once. What it wrote into its pid file comes first: each connection it refuses would be a line in its log.
func (s *Server) answer(ctx context.Context, pm *postmaster) error {
	file, err := s.cluster.readPIDFile()
	if err != nil {
		return err
	}
	if file.pid != pm.pid || file.at.port == 0 {
		return errUnreachable
	}
	pm.at = file.at
	switch file.status {
	case "starting":
		return errRecovering
	case "ready", "standby":
		return s.cluster.ready(ctx, pm.at, pm.pid)
	default:
		return errUnreachable
	}
}

var errExited = errors.New("the server ended before it was ready")

// permanent reports an answer that asking again will not change: somebody else's server, one that refuses this user, or one
// that has no room for the database.
func permanent(err error) bool {
	return errors.Is(err, errForeign) || hasCode(err, "28000") || hasCode(err, "28P01") || hasCode(err, "53100")
}

// halt ends the server: fast, then immediately (which costs a recovery at the next start), then by force. ctx bounds the first.
func (s *Server) halt(ctx context.Context, pm *postmaster) error {
	s.cluster.signal(pm.pid, syscall.SIGINT)
	select {
	case <-pm.exited:
	case <-ctx.Done():
		err := &Error{
			Code: CodeStopIncomplete, What: "Postgres did not stop in time and was ended by force", Cause: context.Cause(ctx),
			Remediation: "nothing is lost; the next start takes longer because it recovers",
		}
		force, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*orphanGrace)
		defer cancel()
		return errors.Join(err, s.cluster.endProcesses(force, syscall.SIGQUIT, orphanGrace))
	}
	// A killed postmaster, unlike a stopped one, may have left backends.
	left, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*orphanGrace)
	defer cancel()
	return s.cluster.endProcesses(left, syscall.SIGQUIT, orphanGrace)
}
