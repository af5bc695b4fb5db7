package api

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/projections/activeleases"
	"github.com/tenure-dev/tenure/projections/leases"
)

type leaseNow = eventstore.Loaded[lease.State]

// The times of a lease that does not say.
const (
	defaultTTL         = 24 * time.Hour
	defaultIdleTimeout = time.Hour
	maxIdleTimeout     = 30 * 24 * time.Hour
)

func (s *Server) acquireLease(c *call) error {
	var in wire.AcquireLease
	if err := c.decode(&in, false); err != nil {
		return err
	}
	ttl, err := duration("ttl", in.TTL, defaultTTL, domain.MaxDuration)
	if err != nil {
		return err
	}
	idle, err := duration("idleTimeout", in.IdleTimeout, defaultIdleTimeout, maxIdleTimeout)
	if err != nil {
		return err
	}
	queue, err := queueing(in)
	if err != nil {
		return err
	}
	retain, err := retention(in)
	if err != nil {
		return err
	}
	wait, waits, err := c.wait()
	if err != nil {
		return err
	}
	choose, err := s.selection(c, in)
	if err != nil {
		return err
	}
	id := newID()
	by, err := c.caller(c.owner, id)
	if err != nil {
		return err
	}
	o, err := s.deps.Commands.AcquireLease(c.ctx(), by, commands.Acquire{
		Lease: domain.LeaseID{UUID: id}, Company: c.owner, Environment: domain.EnvironmentID{UUID: in.EnvironmentID}, Selection: choose, Provider: s.provider,
		Run: in.HeartbeatRunID, Policy: lease.Policy(orDefault(in.LeasePolicy, string(lease.PolicyEphemeral))), TTL: ttl, IdleTimeout: idle, RetainFor: retain, Env: in.Env,
		Queue: queue, NoWait: in.NoWait, Unavailable: s.deps.Checker.Unavailable, Keeping: s.deps.Checker.Keeping,
		Context: lease.Context{
			Issue: in.IssueID, Agent: in.AgentID, Workspace: in.ExecutionWorkspaceID, WorkspaceMode: in.ExecutionWorkspaceMode, Adapter: in.AdapterType,
		},
	})
	if o, err = c.done(by, o, err); err != nil {
		return s.busy(c, err)
	}
	c.id = made(o, id)
	now, err := c.awaitLease(c.id, o, wait, decided)
	if err != nil {
		return err
	}
	return s.answerAcquired(c, o, now, waits)
}

// retention is how long the runtime of a request is kept; an ephemeral one is not.
func retention(in wire.AcquireLease) (time.Duration, error) {
	if policy := lease.Policy(orDefault(in.LeasePolicy, string(lease.PolicyEphemeral))); policy == lease.PolicyEphemeral {
		if in.RetainFor != "" {
			return 0, invalid("conflicting_fields", "retainFor", "is given, but the runtime of an ephemeral lease is not kept").
				Mend("leave it out, or give a leasePolicy that keeps the runtime")
		}
		return 0, nil
	}
	return duration("retainFor", in.RetainFor, lease.DefaultRetention, lease.MaxRetention)
}

// decided reports whether a lease is active or never will be.
func decided(l lease.State) bool {
	return !l.AcquiredAt.IsZero() || l.Status().Ended() || l.ReleaseReason != ""
}

// answerAcquired says 201 once the lease was active and 202 before that. Who does not wait always gets 202, so that a
// repeated request has the status of the first.
func (s *Server) answerAcquired(c *call, o eventstore.Outcome, now leaseNow, waits bool) error {
	// The append held the environment to the version that this process knows.
	env, err := look(c, commands.Environments, now.State.Environment.UUID, o.Changed)
	if err != nil {
		return err
	}
	status := http.StatusAccepted
	switch l := now.State; {
	case !waits:
	case !l.AcquiredAt.IsZero():
		status = http.StatusCreated
	case l.Status().Ended():
		return &leaseFailedError{lease: s.showLease(c.id, now)}
	}
	c.Response().Header().Set("Location", "/api/v1/leases/"+c.id.String())
	return c.answerThing(status, now.Version, wire.Acquired{
		Environment: showEnvironment(now.State.Environment.UUID, env), Lease: s.showLease(c.id, now), LeaseContext: showContext(now.State),
		Selection: showSelection(now.State), Position: max(o.Position, now.Position),
	})
}

// provider is who makes a driver's runtimes; a driver that is not here now is named, and the attempt says that it is missing.
func (s *Server) provider(driver string, config json.RawMessage) string {
	if p, ok := s.deps.Checker.Provider(driver, config); ok && p != "" {
		return p
	}
	return driver
}

func (s *Server) listLeases(c *call) error {
	f := leases.Filter{Company: c.owner, Run: c.QueryParam("heartbeatRunId")}
	model, list := leases.Model.Name, leases.List
	if status := c.QueryParam("status"); status != "" {
		f.Statuses = statuses[status]
		if f.Statuses == nil {
			return invalid("invalid_parameter", "status", "%q is no status of a lease", clip(status)).
				Mend("use queued, provisioning, active, releasing, pending_cleanup, released, expired, failed, retained or canceled, or leave it out")
		}
		// Those that are not over have a read model of their own, which stays small.
		if !f.Statuses[0].Ended() {
			model, list = activeleases.Model.Name, activeleases.List
		}
	}
	if given := c.QueryParam("environmentId"); given != "" {
		id, err := uuid.Parse(given)
		if err != nil {
			return invalid("invalid_id", "environmentId", "%q is not an id", clip(given)).Mend("give the id as a UUID, or leave it out")
		}
		f.Environment = domain.EnvironmentID{UUID: id}
	}
	opts, err := c.page(model, "status", "environmentId", "heartbeatRunId")
	if err != nil {
		return err
	}
	page, err := list(c.ctx(), s.deps.DB, f, opts)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, showPage(page, s.showLeaseRow))
}

// answerLease sends a lease.
func (s *Server) answerLease(c *call, status int, o eventstore.Outcome, now leaseNow, more func(*wire.Lease)) error {
	out := s.showLease(c.id, now)
	out.Position = max(o.Position, now.Position)
	if more != nil {
		more(&out)
	}
	return c.answerThing(status, now.Version, out)
}

func (s *Server) getLease(c *call) error {
	wait, _, err := c.wait()
	if err != nil {
		return err
	}
	now, err := c.awaitLease(c.id, eventstore.Outcome{}, wait, decided)
	if err != nil {
		return err
	}
	return s.answerLease(c, http.StatusOK, eventstore.Outcome{}, now, nil)
}

// checkFence refuses a command of who holds another lease than this one, if it says which it holds.
func (c *call) checkFence() error {
	fence, given, err := c.fence()
	if err != nil || !given {
		return err
	}
	return c.matchFence(fence)
}

// requireFence refuses a command of who does not hold this very lease.
func (c *call) requireFence() error {
	fence, err := c.requiredFence()
	if err != nil {
		return err
	}
	return c.matchFence(fence)
}

// matchFence looks before the command: the fence of a lease never changes once it has one.
func (c *call) matchFence(fence int64) error {
	now, err := c.server.deps.Commands.Lease(c.ctx(), domain.LeaseID{UUID: c.id})
	if err != nil {
		return err
	}
	return now.CheckFence(fence)
}

func (s *Server) releaseLease(c *call) error {
	var in wire.Release
	if err := c.decode(&in, true); err != nil {
		return err
	}
	release, err := releaseOf(in)
	if err != nil {
		return err
	}
	return s.endLease(c, func(by commands.Caller) (eventstore.Outcome, error) {
		return s.deps.Commands.ReleaseLease(c.ctx(), by, domain.LeaseID{UUID: c.id}, release)
	})
}

// releaseOf is the command of a request. The other reasons of the domain are not for clients.
func releaseOf(in wire.Release) (lease.Release, error) {
	reason := lease.Reason(orDefault(in.Status, string(lease.ReasonReleased)))
	switch reason {
	case lease.ReasonReleased, lease.ReasonExpired, lease.ReasonFailed:
		return lease.Release{Reason: reason, Message: in.Message, Disposition: lease.Disposition(in.Disposition)}, nil
	case lease.ReasonCanceled:
	}
	return lease.Release{}, invalid("invalid_status", "status", "%q is not how a release ends a lease", clip(in.Status)).
		Mend("use released, expired or failed, or leave it out")
}

func (s *Server) cancelLease(c *call) error {
	var in wire.Cancel
	if err := c.decode(&in, true); err != nil {
		return err
	}
	return s.endLease(c, func(by commands.Caller) (eventstore.Outcome, error) {
		return s.deps.Commands.CancelLease(c.ctx(), by, domain.LeaseID{UUID: c.id}, in.Reason)
	})
}

// endLease asks to end a lease and answers 200 once it has, 202 while it is being taken down.
func (s *Server) endLease(c *call, command func(commands.Caller) (eventstore.Outcome, error)) error {
	wait, _, err := c.wait()
	if err != nil {
		return err
	}
	if err := c.checkFence(); err != nil {
		return err
	}
	by, err := c.caller(c.owner, c.id)
	if err != nil {
		return err
	}
	o, err := command(by)
	if o, err = c.done(by, o, err); err != nil {
		return err
	}
	now, err := c.awaitLease(c.id, o, wait, func(l lease.State) bool { return l.Status().Ended() })
	if err != nil {
		return err
	}
	status := http.StatusAccepted
	if now.State.Status().Ended() {
		status = http.StatusOK
	}
	return s.answerLease(c, status, o, now, nil)
}
