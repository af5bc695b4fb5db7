package api

import (
	"net/http"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/auth"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
	"github.com/tenure-dev/tenure/domain/key"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/companies"
	"github.com/tenure-dev/tenure/projections/keys"
)

// page reads which page of a list is wanted, and waits until the read model shows minPosition.
func (c *call) page(model string, filters ...string) (projections.Options, error) {
	if err := c.only(append(filters, "limit", "after", "minPosition")...); err != nil {
		return projections.Options{}, err
	}
	limit, err := c.limit(projections.MaxLimit)
	if err != nil {
		return projections.Options{}, err
	}
	return projections.Options{Limit: limit, After: c.QueryParam("after")}, c.minPosition(model)
}

func (s *Server) addCompany(c *call) error {
	var in wire.AddCompany
	if err := c.decode(&in, false); err != nil {
		return err
	}
	id := newID()
	by, err := c.caller(domain.CompanyID{}, id)
	if err != nil {
		return err
	}
	o, err := s.deps.Commands.AddCompany(c.ctx(), by, domain.CompanyID{UUID: id}, in.Name)
	if o, err = c.done(by, o, err); err != nil {
		return err
	}
	id = made(o, id)
	now, err := look(c, commands.Companies, id, o.Changed)
	if err != nil {
		return err
	}
	out := showCompany(id, now)
	out.Position = max(o.Position, now.Position)
	return c.answerThing(http.StatusCreated, now.Version, out)
}

func (s *Server) listCompanies(c *call) error {
	opts, err := c.page(companies.Model.Name, "name")
	if err != nil {
		return err
	}
	page, err := companies.List(c.ctx(), s.deps.DB, companies.Filter{ID: c.principal.Company, Name: c.QueryParam("name")}, opts)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, showPage(page, showCompanyRow))
}

// patchCompany applies a merge patch (RFC 7396); there is one setting.
func (s *Server) patchCompany(c *call) error {
	version, err := c.ifMatch()
	if err != nil {
		return err
	}
	var in wire.CompanySettings
	if err := c.decode(&in, false); err != nil {
		return err
	}
	patch, err := objectFields(c.body)
	if err != nil {
		return err
	}
	by, err := c.caller(c.owner, c.id)
	if err != nil {
		return err
	}
	_, given := find(patch, "defaultEnvironmentId")
	if id := in.DefaultEnvironmentID; id != nil && *id == uuid.Nil {
		return invalid("invalid_id", "defaultEnvironmentId", "is the id of nothing").Mend("give the environment's id, or null for no default")
	}
	o, err := s.deps.Commands.SetDefaultEnvironment(c.ctx(), by, c.owner, version, func(now domain.EnvironmentID) domain.EnvironmentID {
		switch {
		case !given:
			return now
		case in.DefaultEnvironmentID == nil:
			return domain.EnvironmentID{}
		}
		return domain.EnvironmentID{UUID: *in.DefaultEnvironmentID}
	})
	if o, err = c.done(by, o, err); err != nil {
		return err
	}
	now, err := look(c, commands.Companies, c.id, o.Changed)
	if err != nil {
		return err
	}
	out := showCompany(c.id, now)
	out.Position = max(o.Position, now.Position)
	return c.answerThing(http.StatusOK, now.Version, out)
}

func (s *Server) addKey(c *call) error {
	var in wire.AddKey
	if err := c.decode(&in, false); err != nil {
		return err
	}
	id := domain.KeyID{UUID: newID()}
	by, err := c.caller(c.owner, id.UUID)
	if err != nil {
		return err
	}
	fresh := auth.NewKey(id)
	o, err := s.deps.Commands.AddKey(c.ctx(), by, id, key.Added{
		Company: c.owner, Role: access.Role(in.Role), Name: in.Name, Hash: fresh.Hash(), Principal: domain.PrincipalID{UUID: uuid.New()},
	})
	if err != nil {
		return err
	}
	if o.Replayed {
		c.Response().Header().Set(wire.HeaderReplayed, "true")
		return domain.Refuse(domain.KindConflict, "secret_not_replayed", "the key %s was made by this command already, and is shown once", o.Resource).
			On(wire.HeaderIdempotencyKey).Mend("if its answer was lost, revoke it and add another with a new Idempotency-Key")
	}
	now, err := look(c, commands.Keys, id.UUID, o.Changed)
	if err != nil {
		return err
	}
	out := showKey(id.UUID, now)
	out.Key, out.Position = fresh.Reveal(), max(o.Position, now.Position)
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.answerThing(http.StatusCreated, now.Version, out)
}

func (s *Server) listKeys(c *call) error {
	opts, err := c.page(keys.Model.Name)
	if err != nil {
		return err
	}
	page, err := keys.List(c.ctx(), s.deps.DB, keys.Filter{Company: c.owner}, opts)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, showPage(page, showKeyRow))
}

func (s *Server) revokeKey(c *call) error {
	if err := c.decode(&struct{}{}, true); err != nil {
		return err
	}
	by, err := c.caller(c.owner, c.id)
	if err != nil {
		return err
	}
	o, err := s.deps.Commands.RevokeKey(c.ctx(), by, domain.KeyID{UUID: c.id})
	if o, err = c.done(by, o, err); err != nil {
		return err
	}
	s.keys.Forget(domain.KeyID{UUID: c.id})
	now, err := look(c, commands.Keys, c.id, o.Changed)
	if err != nil {
		return err
	}
	out := showKey(c.id, now)
	out.Position = max(o.Position, now.Position)
	return c.answerThing(http.StatusOK, now.Version, out)
}
