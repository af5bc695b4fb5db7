package commands

import (
	"context"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/company"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/key"
	"github.com/tenure-dev/tenure/domain/readmodel"
	"github.com/tenure-dev/tenure/eventstore"
)

// AddCompany adds a company.
func (c *Commands) AddCompany(ctx context.Context, by Caller, id domain.CompanyID, name string) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		w.Company(id)
		_, err := eventstore.Act(ctx, w, Companies, id.UUID, company.Command(company.Add{Name: name}))
		return err
	})
}

// SetDefaultEnvironment changes where runs of a company work that name no environment, through change, which gets the present
// one: an active one of its own, or nowhere with the zero id. ifVersion is the version of the company that the caller saw; 0
// for whatever it is now.
func (c *Commands) SetDefaultEnvironment(
	ctx context.Context, by Caller, id domain.CompanyID, ifVersion int64, change func(domain.EnvironmentID) domain.EnvironmentID,
) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		state, err := eventstore.View(ctx, w, Companies, id.UUID)
		if err != nil {
			return err
		}
		if ifVersion != 0 && w.Version(Companies.Stream(id.UUID)) != ifVersion {
			return domain.Refuse(domain.KindStale, "precondition_failed", "the company has changed since version %d", ifVersion).
				On("If-Match").Mend("read the company again and repeat the change on what it is now")
		}
		env := change(state.DefaultEnvironment)
		if !env.IsZero() && env != state.DefaultEnvironment {
			if err := usable(ctx, w, id, env); err != nil {
				return on(err, "defaultEnvironmentId")
			}
		}
		w.Company(id)
		_, err = eventstore.Act(ctx, w, Companies, id.UUID, company.Command(company.SetDefaultEnvironment{Environment: env}))
		return err
	})
}

// usable refuses an environment that is not an active one of the company's own.
func usable(ctx context.Context, w *eventstore.Work, id domain.CompanyID, env domain.EnvironmentID) error {
	state, err := viewEnvironment(ctx, w, env)
	if err == nil {
		err = owned(state.Company, id, "environment")
	}
	if err == nil && state.Status != environment.StatusActive {
		err = domain.Refuse(domain.KindConflict, "environment_archived", "the environment is %s", state.Status).Mend("name another environment")
	}
	return err
}

// AddKey adds an API key. A key with a company needs that company.
func (c *Commands) AddKey(ctx context.Context, by Caller, id domain.KeyID, added key.Added) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		if !added.Company.IsZero() {
			if err := needCompany(ctx, w, added.Company); err != nil {
				return err
			}
		}
		w.Company(added.Company)
		_, err := eventstore.Act(ctx, w, Keys, id.UUID, key.Command(key.Add{Added: added}))
		return err
	})
}

// RevokeKey revokes an API key; revoking again changes nothing.
func (c *Commands) RevokeKey(ctx context.Context, by Caller, id domain.KeyID) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		k, err := eventstore.View(ctx, w, Keys, id.UUID)
		if err != nil {
			return err
		}
		w.Company(k.Key.Company)
		_, err = eventstore.Act(ctx, w, Keys, id.UUID, key.Command(key.Revoke{}))
		return err
	})
}

// RegisterEnvironment adds an environment to a company and opens its admission. Secrets that stand in its configuration in
// the clear, in the places that fields names, are stored as secrets of the company in the same append.
func (c *Commands) RegisterEnvironment(
	ctx context.Context, by Caller, id domain.EnvironmentID, registered environment.Registered, fields SecretFields,
) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		if err := needCompany(ctx, w, registered.Company); err != nil {
			return err
		}
		w.Company(registered.Company)
		settings, err := c.storeSettings(ctx, w, registered.Company, environment.Reconfigured{}, environment.Reconfigured{
			Name: registered.Name, Driver: registered.Driver, Config: registered.Config, EnvVars: registered.EnvVars,
		}, fields)
		if err != nil {
			return err
		}
		stored := registered
		stored.Config = settings.Config
		_, err = eventstore.Act(ctx, w, Environments, id.UUID, environment.Command(environment.Register{Registered: stored}))
		if err != nil {
			return err
		}
		_, err = eventstore.Act(ctx, w, Admissions, id.UUID, admission.Command(admission.Open{Capacity: registered.MaxLeases, MaxQueued: registered.MaxQueued}))
		return err
	})
}

// ReconfigureEnvironment changes an environment's settings through change, which gets the present ones. ifVersion is the
// version of the environment that the caller saw; 0 for whatever it is now. Secrets in the clear are stored as
// [Commands.RegisterEnvironment] does it.
func (c *Commands) ReconfigureEnvironment(
	ctx context.Context, by Caller, id domain.EnvironmentID, ifVersion int64,
	change func(environment.Reconfigured) (environment.Reconfigured, error), fields SecretFields,
) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		env, err := viewEnvironment(ctx, w, id)
		if err != nil {
			return err
		}
		if ifVersion != 0 && w.Version(Environments.Stream(id.UUID)) != ifVersion {
			return domain.Refuse(domain.KindStale, "precondition_failed", "the environment has changed since version %d", ifVersion).
				On("If-Match").Mend("read the environment again and repeat the change on what it is now")
		}
		settings, err := change(env.Settings())
		if err != nil {
			return err
		}
		w.Company(env.Company)
		if settings, err = c.storeSettings(ctx, w, env.Company, env.Settings(), settings, fields); err != nil {
			return err
		}
		_, err = eventstore.Act(ctx, w, Environments, id.UUID, environment.Command(environment.Reconfigure{Reconfigured: settings}))
		if err != nil || settings.MaxLeases == env.MaxLeases && admission.QueueLimit(settings.MaxQueued) == admission.QueueLimit(env.MaxQueued) {
			return err
		}
		return actOnAdmission(ctx, w, id, limits(settings))
	})
}

func limits(s environment.Reconfigured) admission.Command {
	return admission.ChangeCapacity{Capacity: s.MaxLeases, MaxQueued: s.MaxQueued}
}

func viewEnvironment(ctx context.Context, w *eventstore.Work, id domain.EnvironmentID) (environment.State, error) {
	env, err := eventstore.View(ctx, w, Environments, id.UUID)
	if err == nil && env.Status == environment.StatusNone {
		err = domain.NotFound("environment")
	}
	return env, err
}

func needCompany(ctx context.Context, w *eventstore.Work, id domain.CompanyID) error {
	state, err := eventstore.View(ctx, w, Companies, id.UUID)
	if err != nil {
		return err
	}
	if !state.Known {
		return domain.NotFound("company")
	}
	return nil
}

// EnvironmentAt returns an environment as it was at a version. The version that this process knows as the last one costs no
// query.
func (c *Commands) EnvironmentAt(ctx context.Context, id domain.EnvironmentID, version int64) (environment.State, error) {
	if known, err := eventstore.Recall(ctx, c.ledger, Environments, id.UUID); err != nil || known.Version == version {
		return known.State, err
	}
	state := Environments.Decider.Initial()
	events, err := c.ledger.Store().ReadStream(ctx, Environments.Stream(id.UUID), 0, int(version))
	if err != nil {
		return state, err
	}
	return Environments.Fold(state, events)
}

// readModels is the namespace of the ids of read models, which have names.
var readModels = uuid.MustParse("7d0b4f6e-5f0c-4b53-9d55-0f3c54a3a4f5")

// RecordSkip records that an operator made a read model leave an event out.
func (c *Commands) RecordSkip(ctx context.Context, by Caller, skipped readmodel.Skipped) (eventstore.Outcome, error) {
	id := uuid.NewSHA1(readModels, []byte(skipped.Name))
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		_, err := eventstore.Act(ctx, w, ReadModels, id, readmodel.Command(readmodel.Skip{Skipped: skipped}))
		return err
	})
}
