package api

import (
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/projections/executions"
)

func (s *Server) startExec(c *call) error {
	var in wire.StartExec
	if err := c.decode(&in, false); err != nil {
		return err
	}
	fence, err := c.requiredFence()
	if err != nil {
		return err
	}
	stdin := []byte(in.Stdin)
	if len(in.StdinBase64) > 0 {
		if len(stdin) > 0 {
			return invalid("conflicting_fields", "stdinBase64", "is given together with stdin").Mend("give the input once: text as stdin, bytes as stdinBase64")
		}
		stdin = in.StdinBase64
	}
	id := newID()
	if in.ID != nil {
		if id = *in.ID; id == uuid.Nil {
			return invalid("invalid_id", "id", "is the nil id").Mend("choose a random UUID, or leave it out")
		}
	}
	by, err := c.caller(c.owner, id)
	if err != nil {
		return err
	}
	if err := s.reachable(c.ctx(), by, c.id); err != nil {
		return err
	}
	o, err := s.deps.Commands.RequestExec(c.ctx(), by, commands.StartExec{
		Exec: domain.ExecID{UUID: id}, Lease: domain.LeaseID{UUID: c.id}, Fence: fence, Argv: in.Argv, Cwd: in.Cwd, TimeoutMs: in.TimeoutMs,
		Values: commands.Values{Env: in.Env, Stdin: stdin},
	})
	if o, err = c.done(by, o, err); err != nil {
		return err
	}
	c.id = made(o, id)
	c.Response().Header().Set("Location", "/api/v1/execs/"+c.id.String())
	return s.answerExec(c, http.StatusCreated, o, 0)
}

// answerExec sends an exec once it has ended, or as it is when the time is over.
func (s *Server) answerExec(c *call, status int, o eventstore.Outcome, wait time.Duration) error {
	now, err := await(c, commands.Executions, c.id, o, wait, func(x execution.State) bool { return x.Status == execution.StatusEnded })
	if err != nil {
		return err
	}
	out := showExec(c.id, now)
	out.Position = max(o.Position, now.Position)
	return c.answerThing(status, now.Version, out)
}

func (s *Server) listExecs(c *call) error {
	opts, err := c.page(executions.Model.Name)
	if err != nil {
		return err
	}
	page, err := executions.List(c.ctx(), s.deps.DB, executions.Filter{Company: c.owner, Lease: domain.LeaseID{UUID: c.id}}, opts)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, showPage(page, showExecRow))
}

func (s *Server) getExec(c *call) error {
	if err := c.only("wait", "minPosition"); err != nil {
		return err
	}
	wait, _, err := c.wait()
	if err != nil {
		return err
	}
	if given := c.QueryParam("wait"); given != "" {
		if wait, err = c.seconds("wait", given); err != nil {
			return err
		}
	}
	return s.answerExec(c, http.StatusOK, eventstore.Outcome{}, wait)
}

func (s *Server) killExec(c *call) error {
	var in wire.KillExec
	if err := c.decode(&in, true); err != nil {
		return err
	}
	wait, _, err := c.wait()
	if err != nil {
		return err
	}
	by, err := c.caller(c.owner, c.id)
	if err != nil {
		return err
	}
	o, err := s.deps.Commands.KillExec(c.ctx(), by, domain.ExecID{UUID: c.id}, execution.RequestKill{By: c.principal.ID, Why: in.Why})
	if o, err = c.done(by, o, err); err != nil {
		return err
	}
	return s.answerExec(c, http.StatusOK, o, wait)
}
