package commands

import (
	"context"
	"encoding/json"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/probe"
	"github.com/tenure-dev/tenure/eventstore"
)

// Probe asks whether an environment would work.
type Probe struct {
	Probe   domain.ProbeID
	Company domain.CompanyID
	// Environment is the saved one whose settings are tried; zero for Driver and Config.
	Environment domain.EnvironmentID
	Driver      string
	Config      json.RawMessage
	// Provider is who would make the runtime, as the environment's driver says.
	Provider func(driver string, config json.RawMessage) string
}

// RequestProbe asks whether an environment would work.
func (c *Commands) RequestProbe(ctx context.Context, by Caller, p Probe) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		asked := probe.Requested{Company: p.Company, Environment: p.Environment, Driver: p.Driver, Config: p.Config}
		if !p.Environment.IsZero() {
			env, err := viewEnvironment(ctx, w, p.Environment)
			if err == nil {
				err = owned(env.Company, p.Company, "environment")
			}
			if err != nil {
				return err
			}
			if env.Status != environment.StatusActive {
				return domain.Refuse(domain.KindConflict, "environment_archived", "the environment is %s", env.Status).
					Mend("try its settings as unsaved ones, or another environment")
			}
			asked.Driver, asked.Config = env.Driver, env.Config
		} else if err := needCompany(ctx, w, p.Company); err != nil {
			return err
		}
		asked.Provider = p.Provider(asked.Driver, asked.Config)
		w.Company(p.Company)
		_, err := eventstore.Begin(ctx, w, Probes, p.Probe.UUID, probe.Command(probe.Request{Requested: asked}))
		return err
	})
}

// ClaimProbe claims a probe for a worker, before the driver is asked.
func (c *Commands) ClaimProbe(ctx context.Context, by Caller, id domain.ProbeID, claim probe.Claim) (claimed probe.State, err error) {
	_, err = eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		now, err := eventstore.View(ctx, w, Probes, id.UUID)
		if err != nil {
			return err
		}
		w.Company(now.Request.Company)
		claim.Now = w.Now()
		if _, err := eventstore.Act(ctx, w, Probes, id.UUID, probe.Command(claim)); err != nil {
			return err
		}
		claimed, err = eventstore.View(ctx, w, Probes, id.UUID)
		return err
	})
	return claimed, err
}

// FinishProbe answers a probe; a second answer changes nothing. What was kept beside the log for it goes.
func (c *Commands) FinishProbe(ctx context.Context, by Caller, id domain.ProbeID, answer probe.Completed) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		now, err := eventstore.View(ctx, w, Probes, id.UUID)
		if err != nil {
			return err
		}
		w.Company(now.Request.Company)
		events, err := eventstore.Act(ctx, w, Probes, id.UUID, probe.Command(probe.Complete{Completed: answer}))
		if err == nil && len(events) > 0 && len(now.Request.Kept) > 0 {
			w.Drop(id.UUID)
		}
		return err
	})
}

// KnownProbe returns a probe as far as this process knows; see [eventstore.Recall].
func (c *Commands) KnownProbe(ctx context.Context, id domain.ProbeID) (probe.State, error) {
	p, err := eventstore.Recall(ctx, c.ledger, Probes, id.UUID)
	return p.State, err
}
