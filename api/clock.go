package api

import (
	"net/http"

	"github.com/tenure-dev/tenure/api/wire"
)

func (s *Server) getClock(c *call) error {
	if err := c.only(); err != nil {
		return err
	}
	return c.answer(http.StatusOK, s.showClock())
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
	out := s.showClock()
	out.Position = o.Position
	return c.answer(http.StatusOK, out)
}

func (s *Server) showClock() wire.Clock {
	now := s.deps.Commands.Clock()
	out := wire.Clock{Now: now.Now, Sure: !now.Unsure, RenewableAt: timeOrNull(now.RenewableAt)}
	if now.Unsure {
		out.JumpMs = now.By.Milliseconds()
	}
	if n := len(now.Gaps); n > 0 {
		last := now.Gaps[n-1]
		out.LastGap = &wire.ClockGap{From: last.From.UTC(), To: last.To.UTC(), ShiftMs: last.Shift.Milliseconds()}
	}
	return out
}
