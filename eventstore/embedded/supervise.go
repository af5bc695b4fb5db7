package embedded

import (
	"context"
	"errors"
	"time"
)

const trimEvery = time.Minute

// backoff says how patiently a dead server is brought up again.
type backoff struct {
	first, longest time.Duration
	// failures in a row end the supervision: something is wrong that only a person can change.
	failures int
}

// defaultBackoff gives up after about half a minute.
var defaultBackoff = backoff{first: 100 * time.Millisecond, longest: 5 * time.Second, failures: 10}

// supervise brings the server up again whenever it dies, until it is told to stop or it fails too often in a row.
func (s *Server) supervise(ctx context.Context) {
	defer close(s.done)
	trim := time.NewTicker(trimEvery)
	defer trim.Stop()
	pm := s.pm
	for {
		select {
		case <-ctx.Done():
			return
		case <-trim.C:
			if err := s.log.trim(); err != nil {
				s.opts.Logger.Warn("postgres log cannot be cut", "error", err)
			}
			continue
		case <-pm.exited:
		}
		if ctx.Err() != nil {
			return
		}
		s.opts.Logger.Warn("postgres died", "pid", pm.pid, "reason", s.log.since(pm.logFrom))
		var err error
		if pm, err = s.revive(ctx); err != nil {
			if ctx.Err() == nil {
				s.opts.Logger.Error("postgres is given up", "error", err)
				s.giveUp(err)
			}
			return
		}
	}
}

// revive brings up the next postmaster, pausing longer after each failure. A full disk is nothing to give up for: it passes
// when somebody makes room.
func (s *Server) revive(ctx context.Context) (*postmaster, error) {
	begun := time.Now()
	pause := s.opts.backoff.first
	for failures := 1; ; failures++ {
		pm, err := s.bringUp(ctx)
		if err == nil {
			s.replace(pm)
			s.opts.Logger.Info("postgres is ready again", "pid", pm.pid, "took", time.Since(begun))
			return pm, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		if failure, ok := errors.AsType[*Error](err); ok && failure.Code == CodeNoSpace {
			failures = 0
		}
		if failures == s.opts.backoff.failures {
			return nil, err
		}
		s.opts.Logger.Warn("postgres cannot be restarted yet", "error", err, "retry_in", pause)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, s.opts.backoff.longest)
	}
}

func (s *Server) replace(pm *postmaster) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pm = pm
	s.restart++
}

func (s *Server) giveUp(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}
