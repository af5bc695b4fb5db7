package api

import (
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/key"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/plugin"
	"github.com/tenure-dev/tenure/domain/probe"
	"github.com/tenure-dev/tenure/domain/secret"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// owner finds whose the thing is that the path names, and refuses one that does not exist. Both never change, so what this
// process knows of a thing is enough; one that it knows nothing of is looked for in the log.
type owner func(*call) error

func (s *Server) ofCompany(c *call) error {
	if err := c.pathID("companyId"); err != nil {
		return err
	}
	state, err := eventstore.Recall(c.ctx(), s.deps.Commands.Ledger(), commands.Companies, c.id)
	if err == nil && !state.State.Known {
		err = access.NotFound("company")
	}
	c.owner = domain.CompanyID{UUID: c.id}
	return err
}

// ofEveryone is what no company owns, and no company's key reaches.
func (s *Server) ofEveryone(c *call) error {
	if !c.principal.Scoped() {
		return nil
	}
	return domain.Refuse(domain.KindForbidden, "company_key", "keys that reach every company are not for a key of one").
		Mend("use /api/v1/companies/%s/keys", c.principal.Company)
}

func (s *Server) ofKey(c *call) error {
	return load(c, "keyId", commands.Keys, func(k key.State) (domain.CompanyID, bool) { return k.Key.Company, k.Status != key.StatusNone })
}

// load finds the owner of the thing that a path parameter names.
func load[S, C any, E domain.Event](c *call, param string, kind *eventstore.Kind[S, C, E], of func(S) (domain.CompanyID, bool)) error {
	if err := c.pathID(param); err != nil {
		return err
	}
	loaded, err := eventstore.Recall(c.ctx(), c.server.deps.Commands.Ledger(), kind, c.id)
	if err != nil {
		return err
	}
	company, exists := of(loaded.State)
	if !exists {
		return access.NotFound(c.route.action.Noun())
	}
	c.owner = company
	return nil
}

func (s *Server) ofEnvironment(c *call) error {
	return load(c, "environmentId", commands.Environments, func(e environment.State) (domain.CompanyID, bool) {
		return e.Company, e.Status != environment.StatusNone
	})
}

func (s *Server) ofLease(c *call) error {
	return load(c, "leaseId", commands.Leases, func(l lease.State) (domain.CompanyID, bool) {
		return l.Company, l.Status() != lease.StatusNone
	})
}

func (s *Server) ofExec(c *call) error {
	return load(c, "execId", commands.Executions, func(x execution.State) (domain.CompanyID, bool) {
		return x.Request.Company, x.Status != execution.StatusNone
	})
}

func (s *Server) ofProbe(c *call) error {
	return load(c, "probeId", commands.Probes, func(p probe.State) (domain.CompanyID, bool) {
		return p.Request.Company, p.Status != probe.StatusNone
	})
}

// ofPlugin finds a plugin, which no company owns.
func (s *Server) ofPlugin(c *call) error {
	return load(c, "pluginId", commands.Plugins, func(p plugin.State) (domain.CompanyID, bool) {
		return domain.CompanyID{}, p.Status != plugin.StatusNone
	})
}

func (s *Server) ofSecret(c *call) error {
	return load(c, "secretId", commands.Secrets, func(x secret.State) (domain.CompanyID, bool) {
		return x.Company, x.Status != secret.StatusNone
	})
}
