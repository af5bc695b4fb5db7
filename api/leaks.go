package api

import (
	"net/http"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/projections/balance"
	"github.com/tenure-dev/tenure/projections/leaks"
)

// retryCleanup has the runtime of a lease taken down at once.
func (s *Server) retryCleanup(c *call) error {
	if err := c.decode(&struct{}{}, true); err != nil {
		return err
	}
	return s.cleanUp(c, func(by commands.Caller, id domain.LeaseID) (eventstore.Outcome, error) {
		return s.deps.Commands.RetryCleanup(c.ctx(), by, id)
	})
}

// forceCleanup ends a lease that is stuck. What may be left of it is on the list of leaks.
func (s *Server) forceCleanup(c *call) error {
	var in wire.ForceCleanup
	if err := c.decode(&in, false); err != nil {
		return err
	}
	return s.cleanUp(c, func(by commands.Caller, id domain.LeaseID) (eventstore.Outcome, error) {
		return s.deps.Commands.ForceCleanup(c.ctx(), by, id, in.Reason)
	})
}

// cleanUp answers 200 once the lease has ended and nothing is being taken down for it, 202 before that.
func (s *Server) cleanUp(c *call, command func(commands.Caller, domain.LeaseID) (eventstore.Outcome, error)) error {
	wait, _, err := c.wait()
	if err != nil {
		return err
	}
	by, err := c.caller(c.owner, c.id)
	if err != nil {
		return err
	}
	o, err := command(by, domain.LeaseID{UUID: c.id})
	if o, err = c.done(by, o, err); err != nil {
		return err
	}
	now, err := c.awaitLease(c.id, o, wait, lease.State.Over)
	if err != nil {
		return err
	}
	status := http.StatusAccepted
	if now.State.Over() {
		status = http.StatusOK
	}
	return s.answerLease(c, status, o, now, nil)
}

// showCleanup is null for a lease that nothing was taken down of yet.
func showCleanup(l lease.State) *wire.Cleanup {
	if l.Teardown == 0 && !l.Forced && !l.TeardownFailed && !l.Forgotten {
		return nil
	}
	out := &wire.Cleanup{Attempts: l.Teardown, LastError: showCleanupError(l), Quarantined: l.Quarantined && l.NeedsTeardown(), Forced: l.Forced}
	if !l.Node.IsZero() {
		out.NodeID, out.NodeLost, out.NodeForgotten = &l.Node.UUID, l.Awaiting(), l.Forgotten
	}
	if l.NeedsTeardown() && !l.TearingDown {
		out.NextTryAt = timeOrNull(l.TeardownRetryAt)
	}
	return out
}

// listLeaks shows a company's key what is of its company; what is of nobody is for keys that reach every company.
func (s *Server) listLeaks(c *call) error {
	opts, err := c.page(leaks.Model.Name, "status", "provider")
	if err != nil {
		return err
	}
	f := leaks.Filter{Company: c.principal.Company, Provider: c.QueryParam("provider"), Status: leak.StatusOpen}
	switch given := c.QueryParam("status"); given {
	case "", wire.LeakOpen:
	case wire.LeakCleared:
		f.Status = leak.StatusCleared
	case "all":
		f.Status = leak.StatusNone
	default:
		return invalid("invalid_parameter", "status", "%q is no status of a leak", clip(given)).Mend("use open, cleared or all, or leave it out for open")
	}
	page, err := leaks.List(c.ctx(), s.deps.DB, f, opts)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, showPage(page, func(r leaks.Row) wire.Leak { return showLeak(r.Data.ID.UUID, loaded(r.Head, r.Data.State)) }))
}

func (s *Server) ofLeak(c *call) error {
	return load(c, "leakId", commands.Leaks, func(l leak.State) (domain.CompanyID, bool) { return l.Found.Company, l.Status != leak.StatusNone })
}

func (s *Server) clearLeak(c *call) error {
	var in wire.ClearLeak
	if err := c.decode(&in, false); err != nil {
		return err
	}
	by, err := c.caller(c.owner, c.id)
	if err != nil {
		return err
	}
	o, err := s.deps.Commands.ClearLeak(c.ctx(), by, domain.LeakID{UUID: c.id}, in.Reason)
	if o, err = c.done(by, o, err); err != nil {
		return err
	}
	now, err := look(c, commands.Leaks, c.id, o.Changed)
	if err != nil {
		return err
	}
	out := showLeak(c.id, now)
	out.Position = max(o.Position, now.Position)
	return c.answerThing(http.StatusOK, now.Version, out)
}

func showLeak(id uuid.UUID, now eventstore.Loaded[leak.State]) wire.Leak {
	f, x := now.State.Found, now.State
	out := wire.Leak{
		ID: id, CompanyID: idOrNull(f.Company.UUID), EnvironmentID: idOrNull(f.Environment.UUID), LeaseID: idOrNull(f.Lease.UUID),
		RuntimeID: idOrNull(f.Runtime.UUID), Driver: f.Driver, Provider: f.Provider, ProviderLeaseID: f.ProviderLeaseID,
		NodeID: idOrNull(f.Node.UUID), Why: f.Why.String(), Status: x.Status.String(), FirstSeen: f.FirstSeen.UTC(), FoundAt: x.FoundAt.UTC(),
		Failure: showFailure(x.FailureCode, x.FailureMessage), ClearedAt: timeOrNull(x.ClearedAt), Version: now.Version,
	}
	if x.Status == leak.StatusCleared {
		out.Proof, out.Reason = textOrNull(string(x.Cleared.Proof)), textOrNull(x.Cleared.Reason)
	}
	return out
}

// getBalance accounts for every runtime there ever was.
func (s *Server) getBalance(c *call) error {
	if err := c.only(); err != nil {
		return err
	}
	b, err := balance.Of(c.ctx(), s.deps.DB, s.deps.Commands.Ledger().Store())
	if err != nil {
		return err
	}
	out := wire.Balance{
		Created: b.Created, Held: b.Held, InWork: b.InWork, Listed: b.Listed, Destroyed: b.Destroyed, Lost: b.LostCount, Unknown: b.Unknown,
		LostRuntimes: make([]wire.LostRuntime, len(b.Lost)),
	}
	for i, l := range b.Lost {
		out.LostRuntimes[i] = wire.LostRuntime{RuntimeID: l.Runtime.UUID, LeaseID: idOrNull(l.Lease.UUID), Status: l.Status.String()}
	}
	return c.answer(http.StatusOK, out)
}
