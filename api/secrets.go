package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/secretread"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/secrets"
)

func (s *Server) addSecret(c *call) error {
	var in wire.AddSecret
	if err := c.decode(&in, false); err != nil {
		return err
	}
	id := newID()
	by, err := c.caller(c.owner, id)
	if err != nil {
		return err
	}
	o, err := s.deps.Commands.AddSecret(c.ctx(), by, commands.NewSecret{
		ID: domain.SecretID{UUID: id}, Company: c.owner, Name: in.Name, Description: in.Description, Value: in.Value,
	})
	if o, err = c.done(by, o, err); err != nil {
		return err
	}
	c.id = made(o, id)
	return s.answerSecret(c, http.StatusCreated, o)
}

// answerSecret sends a secret as it is after a command, or as it is now.
func (s *Server) answerSecret(c *call, status int, o eventstore.Outcome) error {
	now, err := look(c, commands.Secrets, c.id, o.Changed)
	if err != nil {
		return err
	}
	out := showSecret(c.id, now)
	out.Position = max(o.Position, now.Position)
	return c.answerThing(status, now.Version, out)
}

func (s *Server) listSecrets(c *call) error {
	opts, err := c.page(secrets.Model.Name, "name")
	if err != nil {
		return err
	}
	page, err := secrets.List(c.ctx(), s.deps.DB, secrets.Filter{Company: c.owner, Name: c.QueryParam("name")}, opts)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, showPage(page, showSecretRow))
}

func (s *Server) getSecret(c *call) error {
	return s.answerSecret(c, http.StatusOK, eventstore.Outcome{})
}

func (s *Server) addSecretVersion(c *call) error {
	var in wire.AddSecretVersion
	if err := c.decode(&in, false); err != nil {
		return err
	}
	return s.onSecret(c, http.StatusCreated, func(by commands.Caller, id domain.SecretID) (eventstore.Outcome, error) {
		return s.deps.Commands.AddSecretVersion(c.ctx(), by, id, in.Value)
	})
}

func (s *Server) disableSecretVersion(c *call) error {
	return s.onSecretVersion(c, s.deps.Commands.DisableSecretVersion)
}

func (s *Server) enableSecretVersion(c *call) error {
	return s.onSecretVersion(c, s.deps.Commands.EnableSecretVersion)
}

func (s *Server) destroySecretVersion(c *call) error {
	if err := c.only("force"); err != nil {
		return err
	}
	return s.onSecretVersion(c, func(ctx context.Context, by commands.Caller, id domain.SecretID, version int) (eventstore.Outcome, error) {
		if err := s.checkSecretUse(c, version); err != nil {
			return eventstore.Outcome{}, err
		}
		return s.deps.Commands.DestroySecretVersion(ctx, by, id, version)
	})
}

func (s *Server) onSecretVersion(
	c *call, do func(context.Context, commands.Caller, domain.SecretID, int) (eventstore.Outcome, error),
) error {
	if err := c.decode(&struct{}{}, true); err != nil {
		return err
	}
	raw, err := c.param("version")
	if err != nil {
		return err
	}
	version, err := strconv.ParseInt(raw, 10, 32)
	if err != nil || version < 1 {
		return invalid("invalid_version", "version", "%q is not the number of a version", clip(raw)).Mend("give a whole number from 1")
	}
	return s.onSecret(c, http.StatusOK, func(by commands.Caller, id domain.SecretID) (eventstore.Outcome, error) {
		return do(c.ctx(), by, id, int(version))
	})
}

func (s *Server) destroySecret(c *call) error {
	if err := c.only("force"); err != nil {
		return err
	}
	if err := s.checkSecretUse(c, 0); err != nil {
		return err
	}
	return s.onSecret(c, http.StatusOK, func(by commands.Caller, id domain.SecretID) (eventstore.Outcome, error) {
		return s.deps.Commands.DestroySecret(c.ctx(), by, id)
	})
}

func (s *Server) onSecret(c *call, status int, do func(commands.Caller, domain.SecretID) (eventstore.Outcome, error)) error {
	by, err := c.caller(c.owner, c.id)
	if err != nil {
		return err
	}
	o, err := do(by, domain.SecretID{UUID: c.id})
	if o, err = c.done(by, o, err); err != nil {
		return err
	}
	return s.answerSecret(c, status, o)
}

// listSecretReads answers from the log, so that a read is listed as soon as it has happened.
func (s *Server) listSecretReads(c *call) error {
	if err := c.only("limit", "after"); err != nil {
		return err
	}
	limit, err := c.limit(eventstore.PageSize)
	if err != nil {
		return err
	}
	after, err := c.number("after")
	if err != nil {
		return err
	}
	store := s.deps.Commands.Ledger().Store()
	head, err := store.Head(c.ctx())
	if err != nil {
		return err
	}
	limit = orDefault(limit, projections.DefaultLimit)
	events, err := store.ReadStream(c.ctx(), commands.SecretReads.Stream(c.id), after, limit+1)
	if err != nil {
		return err
	}
	out := wire.List[wire.SecretRead]{Items: []wire.SecretRead{}, Position: head.Position}
	if len(events) > limit {
		events = events[:limit]
		out.Next = textOrNull(strconv.FormatInt(events[limit-1].Version, 10))
	}
	for _, r := range events {
		e, err := secretread.Codec.Decode(r.Name, r.Revision, r.Payload)
		if err != nil {
			return err
		}
		if read, ok := e.(secretread.Read); ok {
			out.Items = append(out.Items, showSecretRead(r, read))
		}
	}
	return c.answer(http.StatusOK, out)
}
