package api

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/projections/environments"
)

func (s *Server) addEnvironment(c *call) error {
	var in wire.AddEnvironment
	if err := c.decode(&in, false); err != nil {
		return err
	}
	if err := s.checkDriver(in.Driver, in.Config); err != nil {
		return err
	}
	longest, err := maxTTLMs(in.MaxTTL)
	if err != nil {
		return err
	}
	id := newID()
	by, err := c.caller(c.owner, id)
	if err != nil {
		return err
	}
	o, err := s.deps.Commands.RegisterEnvironment(c.ctx(), by, domain.EnvironmentID{UUID: id}, environment.Registered{
		Company: c.owner, Name: in.Name, Description: in.Description, Driver: in.Driver, Config: in.Config,
		EnvVars: wantedVars(in.EnvVars), MaxLeases: in.MaxLeases, Metadata: in.Metadata, MaxQueued: in.MaxQueued, MaxTTLMs: longest,
	}, s.secretFields)
	if o, err = c.done(by, o, err); err != nil {
		return err
	}
	c.id = made(o, id)
	return s.answerEnvironment(c, http.StatusCreated, o)
}

// checkDriver refuses a driver that nobody knows, and a configuration that it cannot use. What is no object is left to the
// domain, which says so.
func (s *Server) checkDriver(driver string, config json.RawMessage) error {
	if driver == "" {
		return nil // the domain says that it is missing
	}
	if err := domain.CheckLine("driver", driver, domain.MaxName); err != nil {
		return err
	}
	config = orObject(config)
	if _, ok := s.deps.Checker.Provider(driver, config); !ok {
		return invalid("unknown_driver", "driver", "%q is not a driver of this server", driver).Mend("use a driver that this server has, such as local")
	}
	if err := domain.CheckObject("config", config); err != nil {
		return err
	}
	err := s.deps.Checker.CheckConfig(driver, config)
	if _, refused := errors.AsType[*domain.Refusal](err); refused || err == nil {
		return err
	}
	return invalid("invalid_config", "config", "%s", err).Mend("see what the driver %s takes in its documentation", driver)
}

// secretFields are the places for secrets in a driver's configuration.
func (s *Server) secretFields(driver string, config json.RawMessage) ([]commands.SecretField, error) {
	held, err := s.deps.Checker.SecretFields(driver, orObject(config))
	var fields []commands.SecretField
	for _, f := range held {
		fields = append(fields, commands.SecretField(f))
	}
	return fields, err
}

// answerEnvironment sends an environment as it is after a command, or as it is now.
func (s *Server) answerEnvironment(c *call, status int, o eventstore.Outcome, warnings ...string) error {
	now, err := look(c, commands.Environments, c.id, o.Changed)
	if err != nil {
		return err
	}
	out := showEnvironment(c.id, now)
	out.Position, out.Warnings = max(o.Position, now.Position), warnings
	return c.answerThing(status, now.Version, out)
}

func (s *Server) listEnvironments(c *call) error {
	opts, err := c.page(environments.Model.Name, "name", "driver", "status")
	if err != nil {
		return err
	}
	f := environments.Filter{
		Company: c.owner, Name: c.QueryParam("name"), Driver: c.QueryParam("driver"), Status: environment.Status(c.QueryParam("status")),
	}
	switch f.Status {
	case environment.StatusNone, environment.StatusActive, environment.StatusArchived, environment.StatusArchiving,
		environment.StatusDeleting, environment.StatusDeleted:
	default:
		return invalid("invalid_parameter", "status", "%q is no status of an environment", clip(f.Status.String())).Mend("use active, archiving, archived, deleting or deleted, or leave it out")
	}
	page, err := environments.List(c.ctx(), s.deps.DB, f, opts)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, showPage(page, showEnvironmentRow))
}

func (s *Server) getEnvironment(c *call) error {
	return s.answerEnvironment(c, http.StatusOK, eventstore.Outcome{})
}

func (s *Server) patchEnvironment(c *call) error {
	version, err := c.ifMatch()
	if err != nil {
		return err
	}
	if len(c.body) == 0 {
		return c.decode(nil, false)
	}
	patch, err := objectFields(c.body)
	if err != nil {
		return err
	}
	by, err := c.caller(c.owner, c.id)
	if err != nil {
		return err
	}
	var before, after environment.Reconfigured
	o, err := s.deps.Commands.ReconfigureEnvironment(c.ctx(), by, domain.EnvironmentID{UUID: c.id}, version,
		func(now environment.Reconfigured) (environment.Reconfigured, error) {
			next, err := patched(now, patch)
			before, after = now, next
			if err != nil {
				return next, err
			}
			// A driver that cannot be asked is no reason to refuse what does not change the configuration.
			if held, unknown := s.secretFields(next.Driver, next.Config); unknown == nil {
				next.Config, err = commands.PreferRawSecrets(next.Config, held)
			}
			if err == nil && (next.Driver != now.Driver || !domain.SameJSON(next.Config, now.Config)) {
				err = s.checkDriver(next.Driver, next.Config)
			}
			return next, err
		}, s.secretFields)
	if o, err = c.done(by, o, err); err != nil {
		return err
	}
	warnings, err := s.limitWarnings(c, before, after)
	if err != nil {
		return err
	}
	return s.answerEnvironment(c, http.StatusOK, o, warnings...)
}

func (s *Server) archiveEnvironment(c *call) error {
	var in wire.RetireEnvironment
	if err := c.decode(&in, true); err != nil {
		return err
	}
	return s.retireEnvironment(c, commands.Retirement{Force: in.Force})
}

func (s *Server) deleteEnvironment(c *call) error {
	if err := c.only("force"); err != nil {
		return err
	}
	force, err := c.flag("force")
	if err != nil {
		return err
	}
	if err := c.decode(&struct{}{}, true); err != nil {
		return err
	}
	return s.retireEnvironment(c, commands.Retirement{Delete: true, Force: force})
}

// retireEnvironment answers once the environment has ended, or as it is when the time is over: then with 202.
func (s *Server) retireEnvironment(c *call, how commands.Retirement) error {
	by, err := c.caller(c.owner, c.id)
	if err != nil {
		return err
	}
	wait, _, err := c.wait()
	if err != nil {
		return err
	}
	o, err := s.deps.Commands.RetireEnvironment(c.ctx(), by, domain.EnvironmentID{UUID: c.id}, how)
	if o, err = c.done(by, o, err); err != nil {
		return err
	}
	now, err := await(c, commands.Environments, c.id, o, wait, func(e environment.State) bool { return !e.Status.Retiring() })
	if err != nil {
		return err
	}
	status := http.StatusOK
	if now.State.Status.Retiring() {
		status = http.StatusAccepted
	}
	out := showEnvironment(c.id, now)
	out.Position = max(o.Position, now.Position)
	return c.answerThing(status, now.Version, out)
}
