package api

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/epoch"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// LogKeeper knows the log's own life.
type LogKeeper interface {
	// Now is what this process knows without asking.
	Now() LogNow
	// Describe looks at the log again.
	Describe(ctx context.Context) (LogDescription, error)
	// Adopt takes a log that has forked as it is. It refuses what is not so.
	Adopt(ctx context.Context, by commands.Caller, a LogAdoption) error
}

// LogNow says which log it is.
type LogNow struct {
	Installation uuid.UUID
	Epoch        int64
	// Forked says that the log waits for its adoption and nothing is driven.
	Forked bool
}

// LogDescription is all that is known of the log itself.
type LogDescription struct {
	LogNow
	Position int64
	State    epoch.State
	Place    epoch.Place
	// Standbys follow the database; SynchronousStandbys is its setting of that name.
	Standbys            int
	SynchronousStandbys string
}

// LogAdoption says how to adopt the log. Epoch is the one that was shown; 0 for whichever it is.
type LogAdoption struct {
	Reason                  string
	Epoch                   int64
	NewInstallation, Anyway bool
}

func (s *Server) showLog(c *call) error {
	if err := c.only(); err != nil {
		return err
	}
	return s.answerLog(c)
}

func (s *Server) answerLog(c *call) error {
	now, err := s.deps.Log.Describe(c.ctx())
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, showLog(now))
}

func (s *Server) adoptLog(c *call) error {
	var in wire.AdoptLog
	if err := c.decode(&in, true); err != nil {
		return err
	}
	if err := domain.CheckText("reason", in.Reason, domain.MaxMessage); err != nil {
		return err
	}
	if in.Epoch < 0 {
		return domain.Refuse(domain.KindInvalid, "invalid_number", "must not be below zero").On("epoch").
			Mend("give the epoch that GET /api/v1/log shows, or leave it out")
	}
	s.deps.Logger.Warn("adoption of the log asked for", "request_id", c.request, "key_id", c.principal.Key.String(), "reason", in.Reason,
		"new_installation", in.NewInstallation, "anyway", in.Anyway)
	err := s.deps.Log.Adopt(c.ctx(), c.by(), LogAdoption{
		Reason: in.Reason, Epoch: in.Epoch, NewInstallation: in.NewInstallation, Anyway: in.Anyway,
	})
	if err != nil {
		return err
	}
	return s.answerLog(c)
}

func logState(forked bool) string {
	if forked {
		return wire.LogForked
	}
	return wire.LogInForce
}

func showLog(d LogDescription) wire.Log {
	out := wire.Log{
		Installation: d.Installation, Epoch: d.Epoch, State: logState(d.Forked), Position: d.Position, Place: showPlace(d.Place),
		LostAtMost: d.State.LostAtMost, Forks: make([]wire.LogFork, 0, len(d.State.Forks)), Standbys: d.Standbys, SynchronousStandbys: d.SynchronousStandbys,
	}
	for _, f := range d.State.Forks {
		fork := wire.LogFork{FromEpoch: f.FromEpoch, Head: f.Head, Kept: f.Kept, LostAtMost: f.LostAtMost(), Was: showPlace(f.Was), Is: showPlace(f.Is)}
		for _, finding := range f.Findings {
			fork.Findings = append(fork.Findings, finding.String())
		}
		if m := f.Remembered; m != nil {
			fork.Remembered = &wire.LogMark{Epoch: m.Epoch, Position: m.Position, Hash: m.Hash}
		}
		if !f.Node.IsZero() {
			fork.NodeID = &f.Node.UUID
		}
		out.Forks = append(out.Forks, fork)
	}
	if a := d.State.Adopted; a != nil {
		out.Adopted = &wire.LogAdopted{Reason: a.Reason, LostAtMost: a.LostAtMost, FormerInstallation: a.Former}
	}
	return out
}

func showPlace(p epoch.Place) wire.LogPlace {
	return wire.LogPlace{
		System: textOrNull(p.System), Timeline: textOrNull(p.Timeline), Database: textOrNull(p.Database), Birth: textOrNull(p.Birth),
		Port: textOrNull(p.Port), Address: textOrNull(p.Address),
	}
}
