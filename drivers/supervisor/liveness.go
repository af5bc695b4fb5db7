package supervisor

import (
	"context"
	"errors"
	"time"

	"github.com/tenure-dev/tenure/eventstore"
)

// beat keeps this process's liveness row. A beat that hangs is given up early enough for another one to come in time.
func (s *Supervisor) beat(ctx context.Context) {
	ticker := time.NewTicker(s.opts.LivenessTTL / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		callCtx, cancel := context.WithTimeout(ctx, s.opts.LivenessTTL/2)
		err := s.deps.Processes.Beat(callCtx, s.deps.Process, s.opts.LivenessTTL)
		cancel()
		if errors.Is(err, eventstore.ErrProcessGone) {
			s.log.Error("another process has taken this one's place; ending", "process", s.deps.Process.ID)
			s.rest()
			s.lostOnce.Do(func() { close(s.lost) })
			return
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("this process could not say that it lives", "error", err)
		}
	}
}
