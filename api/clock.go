package api

import (
	"context"
	"net/http"
	"time"

	"github.com/tenure-dev/tenure/api/wire"
)

func (s *Server) getClock(c *call) error {
	if err := c.only(); err != nil {
		return err
	}
	out, err := s.showClock(c.ctx())
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, out)
}

func (s *Server) confirmClock(c *call) error {
	var in wire.ConfirmClock
	if err := c.decode(&in, true); err != nil {
		return err
	}
	id := newID()
	by, err := c.caller(c.owner, id)
	if err != nil {
		return err
	}
	o, err := s.deps.Commands.ConfirmClock(c.ctx(), by, in.Reason)
	if o, err = c.done(by, o, err); err != nil {
		return err
	}
	out, err := s.confirmedClock(c.ctx())
	if err != nil {
		return err
	}
	out.Position = o.Position
	return c.answer(http.StatusOK, out)
}

// confirmWait is how long the answer to a confirmation waits for all processes to have heard of it: they do so by the log, and
// say so with a beat at once.
const confirmWait = 3 * time.Second

// confirmedClock is how time stands once every process trusts the clock, or after confirmWait.
func (s *Server) confirmedClock(ctx context.Context) (wire.Clock, error) {
	limit, look := time.NewTimer(confirmWait), time.NewTicker(confirmWait/20)
	defer limit.Stop()
	defer look.Stop()
	for {
		out, err := s.showClock(ctx)
		if err != nil || out.Sure {
			return out, err
		}
		select {
		case <-look.C:
		case <-limit.C:
			return out, nil
		case <-ctx.Done():
			return wire.Clock{}, context.Cause(ctx)
		}
	}
}

// showClock joins what this process knows now and what the others said of themselves.
func (s *Server) showClock(ctx context.Context) (wire.Clock, error) {
	processes, err := s.deps.Processes.List(ctx)
	if err != nil {
		return wire.Clock{}, err
	}
	now := s.deps.Commands.Clock()
	out := wire.Clock{Now: now.Now, Sure: true, RenewableAt: timeOrNull(now.RenewableAt), Processes: []wire.ClockProcess{}}
	doubt := func(by time.Duration) {
		if out.Sure || by.Abs().Milliseconds() > max(out.JumpMs, -out.JumpMs) {
			out.JumpMs = by.Milliseconds()
		}
		out.Sure = false
	}
	if now.Unsure {
		doubt(now.By)
	}
	for _, p := range processes {
		if !p.Alive {
			continue
		}
		if p.Doubts {
			doubt(p.ClockJump)
		}
		out.Processes = append(out.Processes, wire.ClockProcess{
			ID: p.ID.UUID, Hostname: p.Hostname, Role: p.Role.String(), Sure: !p.Doubts, JumpMs: p.ClockJump.Milliseconds(),
		})
	}
	if n := len(now.Gaps); n > 0 {
		last := now.Gaps[n-1]
		out.LastGap = &wire.ClockGap{From: last.From.UTC(), To: last.To.UTC(), ShiftMs: last.Shift.Milliseconds()}
	}
	return out, nil
}
