package api

import (
	"net/http"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/probe"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// probeEnvironment asks whether a saved environment would work. The API asks no driver: it appends, and a worker answers.
func (s *Server) probeEnvironment(c *call) error {
	if err := c.decode(&struct{}{}, true); err != nil {
		return err
	}
	return s.requestProbe(c, commands.Probe{Environment: domain.EnvironmentID{UUID: c.id}})
}

// probeSettings asks whether settings that are not saved would work.
func (s *Server) probeSettings(c *call) error {
	var in wire.ProbeSettings
	if err := c.decode(&in, false); err != nil {
		return err
	}
	if err := s.checkDriver(in.Driver, in.Config); err != nil {
		return err
	}
	return s.requestProbe(c, commands.Probe{Driver: in.Driver, Config: orObject(in.Config)})
}

func (s *Server) requestProbe(c *call, p commands.Probe) error {
	id := newID()
	by, err := c.caller(c.owner, id)
	if err != nil {
		return err
	}
	p.Probe, p.Company = domain.ProbeID{UUID: id}, c.owner
	p.Provider, p.Fields = s.provider, s.secretFields
	o, err := s.deps.Commands.RequestProbe(c.ctx(), by, p)
	if o, err = c.done(by, o, err); err != nil {
		return err
	}
	c.id = made(o, id)
	c.Response().Header().Set("Location", "/api/v1/probes/"+c.id.String())
	return s.answerProbe(c, o, http.StatusCreated, http.StatusAccepted)
}

func (s *Server) getProbe(c *call) error {
	return s.answerProbe(c, eventstore.Outcome{}, http.StatusOK, http.StatusOK)
}

// answerProbe sends a probe once it is answered, with the status done, or as it is when the time is over.
func (s *Server) answerProbe(c *call, o eventstore.Outcome, done, yet int) error {
	wait, _, err := c.wait()
	if err != nil {
		return err
	}
	now, err := await(c, commands.Probes, c.id, o, wait, func(p probe.State) bool { return p.Status == probe.StatusCompleted })
	if err != nil {
		return err
	}
	status := yet
	if now.State.Status == probe.StatusCompleted {
		status = done
	}
	out := showProbe(c.id, now)
	out.Position = max(o.Position, now.Position)
	return c.answerThing(status, now.Version, out)
}

func showProbe(id uuid.UUID, now eventstore.Loaded[probe.State]) wire.Probe {
	p := now.State
	out := wire.Probe{
		ID: id, CompanyID: p.Request.Company.UUID, EnvironmentID: idOrNull(p.Request.Environment.UUID), Driver: p.Request.Driver,
		Provider: p.Request.Provider, CreatedAt: p.RequestedAt.UTC(), CompletedAt: timeOrNull(p.CompletedAt), Version: now.Version,
	}
	switch p.Status {
	case probe.StatusRequested, probe.StatusNone:
		out.Status = wire.ProbeRequested
	case probe.StatusClaimed:
		out.Status = wire.ProbeRunning
	case probe.StatusCompleted:
		out.Status = wire.ProbeCompleted
		out.Result = showProbeResult(p.Result)
	}
	return out
}

func showProbeResult(r probe.Completed) *wire.ProbeResult {
	out := &wire.ProbeResult{
		OK: r.OK, Phase: textOrNull(r.Phase), Summary: r.Summary, DriverMs: r.DriverMs, Diagnostics: make([]wire.Diagnostic, len(r.Diagnostics)),
	}
	for i, d := range r.Diagnostics {
		out.Diagnostics[i] = wire.Diagnostic{
			Severity: d.Severity, Code: textOrNull(d.Code), Message: d.Message, Remediation: textOrNull(d.Remediation),
		}
	}
	return out
}
