package commands

import (
	"context"
	"strconv"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/secret"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/vault"
)

// NewSecret is a secret to add, with the value of its first version.
type NewSecret struct {
	ID          domain.SecretID
	Company     domain.CompanyID
	Name        string
	Description string
	Value       string
}

// AddSecret adds a secret to a company.
func (c *Commands) AddSecret(ctx context.Context, by Caller, s NewSecret) (eventstore.Outcome, error) {
	if err := domain.CheckSecretValue("value", s.Value); err != nil {
		return eventstore.Outcome{}, err
	}
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		if err := needCompany(ctx, w, s.Company); err != nil {
			return err
		}
		w.Company(s.Company)
		return c.addSecret(ctx, w, s)
	})
}

func (c *Commands) addSecret(ctx context.Context, w *eventstore.Work, s NewSecret) error {
	_, err := eventstore.Begin(ctx, w, Secrets, s.ID.UUID, secret.Command(secret.Add{Added: secret.Added{
		Company: s.Company, Name: s.Name, Description: s.Description,
	}}))
	if err != nil {
		return err
	}
	return c.keepSecret(w, s.ID, s.Company, 1, s.Value)
}

// AddSecretVersion gives a secret a new value, which is the latest from then on.
func (c *Commands) AddSecretVersion(ctx context.Context, by Caller, id domain.SecretID, value string) (eventstore.Outcome, error) {
	if err := domain.CheckSecretValue("value", value); err != nil {
		return eventstore.Outcome{}, err
	}
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		before, err := eventstore.View(ctx, w, Secrets, id.UUID)
		if err != nil {
			return err
		}
		w.Company(before.Company)
		return c.addVersion(ctx, w, id, before.Company, value)
	})
}

func (c *Commands) addVersion(ctx context.Context, w *eventstore.Work, id domain.SecretID, company domain.CompanyID, value string) error {
	events, err := eventstore.Act(ctx, w, Secrets, id.UUID, secret.Command(secret.AddVersion{}))
	if err != nil {
		return err
	}
	for _, e := range events {
		if added, ok := e.(secret.VersionAdded); ok {
			if err := c.keepSecret(w, id, company, added.Version, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// keepSecret seals a value and keeps it beside the log with the work's events.
func (c *Commands) keepSecret(w *eventstore.Work, id domain.SecretID, company domain.CompanyID, version int, value string) error {
	sealed, err := c.vault.Seal([]byte(value), vault.OfSecret(company, id, version))
	if err == nil {
		w.Keep(eventstore.Input{ID: secretInput(id, version), Company: company, Subject: Secrets.Stream(id.UUID), Value: sealed})
	}
	return err
}

// secretInput is the id under which the value of a version lies beside the log.
func secretInput(id domain.SecretID, version int) uuid.UUID {
	return uuid.NewSHA1(id.UUID, []byte("version "+strconv.Itoa(version)))
}

// DisableSecretVersion takes a version out of use; doing so again changes nothing.
func (c *Commands) DisableSecretVersion(ctx context.Context, by Caller, id domain.SecretID, version int) (eventstore.Outcome, error) {
	return c.onSecret(ctx, by, id, secret.Disable{Version: version})
}

// EnableSecretVersion puts a disabled version back into use.
func (c *Commands) EnableSecretVersion(ctx context.Context, by Caller, id domain.SecretID, version int) (eventstore.Outcome, error) {
	return c.onSecret(ctx, by, id, secret.Enable{Version: version})
}

// DestroySecretVersion ends a version for good: its value goes with the event that says so.
func (c *Commands) DestroySecretVersion(ctx context.Context, by Caller, id domain.SecretID, version int) (eventstore.Outcome, error) {
	return c.onSecret(ctx, by, id, secret.DestroyVersion{Version: version})
}

// DestroySecret ends a secret for good: its values go with the event that says so.
func (c *Commands) DestroySecret(ctx context.Context, by Caller, id domain.SecretID) (eventstore.Outcome, error) {
	return c.onSecret(ctx, by, id, secret.Destroy{})
}

func (c *Commands) onSecret(ctx context.Context, by Caller, id domain.SecretID, cmd secret.Command) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		before, err := eventstore.View(ctx, w, Secrets, id.UUID)
		if err != nil {
			return err
		}
		w.Company(before.Company)
		events, err := eventstore.Act(ctx, w, Secrets, id.UUID, cmd)
		if err != nil {
			return err
		}
		for _, e := range events {
			switch e := e.(type) {
			case secret.VersionDestroyed:
				w.Drop(secretInput(id, e.Version))
			case secret.Destroyed:
				for _, v := range before.Versions {
					if v.Status != secret.StatusDestroyed {
						w.Drop(secretInput(id, v.Number))
					}
				}
			case secret.Added, secret.VersionAdded, secret.VersionDisabled, secret.VersionEnabled:
			}
		}
		return nil
	})
}
