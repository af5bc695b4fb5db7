package api

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/selection"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/environments"
)

// selection is how the environment of a request is found; nil if it names one.
func (s *Server) selection(c *call, in wire.AcquireLease) (*commands.Selection, error) {
	if in.EnvironmentID != uuid.Nil {
		if in.Selection != nil {
			return nil, invalid("conflicting_fields", "selection", "says how to find an environment, and environmentId names one").
				Mend("leave one of the two out")
		}
		return nil, nil
	}
	fields, err := objectFields(c.body)
	if err != nil {
		return nil, err
	}
	if raw, given := find(fields, "environmentId"); given && string(raw) != "null" {
		return nil, invalid("invalid_id", "environmentId", "is the id of nothing").Mend("name an environment, or leave the field out")
	}
	choose := &commands.Selection{AllowFake: s.deps.AllowFakeSelection}
	choose.Locals = func(ctx context.Context, current bool) ([]domain.EnvironmentID, error) {
		return s.locals(ctx, c, current)
	}
	raw, _ := find(fields, "selection")
	if in.Selection == nil {
		return choose, nil
	}
	from, err := selectFrom(raw)
	if err != nil {
		return nil, err
	}
	for _, named := range []struct {
		field string
		id    *uuid.UUID
		to    *domain.EnvironmentID
	}{
		{"issueEnvironmentId", from.IssueEnvironmentID, &choose.Issue}, {"projectEnvironmentId", from.ProjectEnvironmentID, &choose.Project},
		{"agentEnvironmentId", from.AgentEnvironmentID, &choose.Agent},
	} {
		switch {
		case named.id == nil:
		case *named.id == uuid.Nil:
			return nil, invalid("invalid_id", "selection."+named.field, "is the id of nothing").Mend("name an environment, or leave the field out")
		default:
			named.to.UUID = *named.id
		}
	}
	return choose, nil
}

// selectFrom reads it as strictly as a body.
func selectFrom(raw json.RawMessage) (wire.SelectFrom, error) {
	var from wire.SelectFrom
	fields, err := objectFields(raw)
	if err == nil {
		err = decodeFields(fields, &from)
	}
	if r, ok := errors.AsType[*domain.Refusal](err); ok {
		return from, r.On(strings.TrimSuffix("selection."+r.Field, "."))
	}
	return from, err
}

// mostLocals is how many environments of the driver local are looked at; all but the first are for the moment in which the
// read model still shows as active what was just archived.
const mostLocals = 10

// locals lists them from the read model, which has to show all that is in the log now where the list is to be current: one may
// have been added a moment ago.
func (s *Server) locals(ctx context.Context, c *call, current bool) ([]domain.EnvironmentID, error) {
	if current {
		head, err := s.deps.Commands.Ledger().Store().Head(ctx)
		if err != nil {
			return nil, err
		}
		if err := c.awaitModel(environments.Model.Name, head.Position); err != nil {
			return nil, err
		}
	}
	page, err := environments.List(ctx, s.deps.DB, environments.Filter{
		Company: c.owner, Driver: selection.DriverLocal, Status: environment.StatusActive,
	}, projections.Options{Limit: mostLocals})
	var ids []domain.EnvironmentID
	for _, row := range page.Items {
		ids = append(ids, row.Data.ID)
	}
	return ids, err
}
