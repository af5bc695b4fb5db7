package commands

import (
	"context"
	"encoding/json"
	"fmt"

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
	// Config may have secrets in the clear, where Fields says: they are kept, sealed, for this probe only.
	Config json.RawMessage
	Fields SecretFields
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
		} else if err := c.hideSecrets(ctx, w, p, &asked); err != nil {
			return err
		}
		asked.Provider = p.Provider(asked.Driver, asked.Config)
		w.Company(p.Company)
		_, err := eventstore.Begin(ctx, w, Probes, p.Probe.UUID, probe.Command(probe.Request{Requested: asked}))
		return err
	})
}

// hideSecrets takes the secrets that stand in the clear out of settings that are not saved, and keeps them beside the log
// until the probe has ended. References must be to secrets of the company.
func (c *Commands) hideSecrets(ctx context.Context, w *eventstore.Work, p Probe, asked *probe.Requested) error {
	if err := needCompany(ctx, w, p.Company); err != nil {
		return err
	}
	found, err := FindSecretRefs(p.Config)
	if err != nil {
		return err
	}
	for _, f := range found {
		if err := checkRef(ctx, w, p.Company, f.Ref, nil, fieldOf(f.Pointer)); err != nil {
			return err
		}
	}
	document, err := decodeConfig(p.Config)
	if err != nil {
		return err
	}
	fields, err := p.Fields(p.Driver, p.Config)
	if err != nil {
		return err
	}
	hidden := map[string]string{}
	for _, f := range fields {
		parent, name, value, ok := at(document, f.Value)
		raw, text := value.(string)
		if !ok || !text {
			continue
		}
		if err := domain.CheckSecretValue(fieldOf(f.Value), raw); err != nil {
			return err
		}
		hidden[f.Value] = raw
		asked.Kept = append(asked.Kept, f.Value)
		if !put(parent, name, "") {
			return fmt.Errorf("the configuration has no place %s", f.Value)
		}
	}
	if len(hidden) == 0 {
		return nil
	}
	if asked.Config, err = encodeConfig(document); err != nil {
		return err
	}
	raw, err := json.Marshal(storedValues{Env: hidden, Salt: eventstore.NewSalt()})
	if err != nil {
		return fmt.Errorf("encode values: %w", err)
	}
	return c.keepValues(w, values{raw: raw}, eventstore.Input{ID: p.Probe.UUID, Company: p.Company, Subject: Probes.Stream(p.Probe.UUID)})
}

// ProbeConfig is the configuration that a claimed probe is to try, with its secrets in it.
func (c *Commands) ProbeConfig(ctx context.Context, id domain.ProbeID, p probe.State, got Got) (json.RawMessage, error) {
	values, err := c.Secrets(ctx, got)
	if err != nil {
		return nil, err
	}
	config, err := ReplaceSecretRefs(p.Request.Config, values)
	if err != nil || len(p.Request.Kept) == 0 {
		return config, err
	}
	kept, err := c.Values(ctx, id.UUID)
	if err != nil {
		return nil, err
	}
	document, err := decodeConfig(config)
	if err != nil {
		return nil, err
	}
	for _, pointer := range p.Request.Kept {
		value, ok := kept.Env[pointer]
		parent, name, _, found := at(document, pointer)
		if !ok || !found || !put(parent, name, value) {
			return nil, fmt.Errorf("the secret of %s is not kept any more", fieldOf(pointer))
		}
	}
	return encodeConfig(document)
}

// ClaimProbe claims a probe for a worker, before the driver is asked.
func (c *Commands) ClaimProbe(ctx context.Context, by Caller, id domain.ProbeID, claim probe.Claim, need Need) (claimed probe.State, got Got, err error) {
	_, err = eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		now, err := eventstore.View(ctx, w, Probes, id.UUID)
		if err != nil {
			return err
		}
		w.Company(now.Request.Company)
		w.Drives()
		claim.Now = w.Now()
		if _, err := eventstore.Act(ctx, w, Probes, id.UUID, probe.Command(claim)); err != nil {
			return err
		}
		if claimed, err = eventstore.View(ctx, w, Probes, id.UUID); err != nil {
			return err
		}
		got, err = settle(ctx, w, claimed.Request.Company, need)
		return err
	})
	return claimed, got, err
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
