package commands

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/secret"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/vault"
)

// Kept is everything that lies beside the log.
type Kept interface {
	// ListInputs returns values with an id above after, in order.
	ListInputs(ctx context.Context, after uuid.UUID, limit int) ([]eventstore.Input, error)
	// ReplaceInput puts another value in the place of one that is still the old one.
	ReplaceInput(ctx context.Context, id uuid.UUID, old, value []byte) (done bool, err error)
}

// Resealed counts what became of what lies beside the log.
type Resealed struct {
	// Seen are all values, Sealed those that were sealed with the primary key now.
	Seen, Sealed int
	// Damaged are those that do not open.
	Damaged int
}

// resealPage is few, since each may be large.
const resealPage = 16

// Reseal seals everything that lies beside the log with the primary key: what an earlier version kept in the clear, and what
// another key has sealed. It may run beside everything else, and be cut short at any moment and repeated.
func (c *Commands) Reseal(ctx context.Context, kept Kept) (Resealed, error) {
	var done Resealed
	for after := uuid.Nil; ; {
		page, err := kept.ListInputs(ctx, after, resealPage)
		if err != nil {
			return done, err
		}
		for _, in := range page {
			after = in.ID
			done.Seen++
			sealed, err := c.reseal(ctx, kept, in)
			switch {
			case errors.Is(err, vault.ErrDamaged):
				done.Damaged++
			case err != nil:
				return done, err
			case sealed:
				done.Sealed++
			}
		}
		if len(page) < resealPage {
			return done, nil
		}
	}
}

func (c *Commands) reseal(ctx context.Context, kept Kept, in eventstore.Input) (bool, error) {
	if vault.KeyOf(in.Value) == c.vault.Primary() {
		return false, nil
	}
	binding, err := c.bindingOf(ctx, in)
	if err != nil {
		return false, err
	}
	value := in.Value
	if in.Subject.Category() == secret.Category || !plainValues(value) {
		if value, err = c.vault.Open(value, binding); err != nil {
			return false, err
		}
	}
	sealed, err := c.vault.Seal(value, binding)
	if err != nil {
		return false, err
	}
	return kept.ReplaceInput(ctx, in.ID, in.Value, sealed)
}

// bindingOf is what a kept value was sealed for. Which version of a secret it is, its id tells.
func (c *Commands) bindingOf(ctx context.Context, in eventstore.Input) (vault.Binding, error) {
	if in.Subject.Category() != secret.Category {
		return vault.OfInput(in.Company, in.Subject, in.ID), nil
	}
	id, err := in.Subject.ID()
	if err != nil {
		return vault.Binding{}, fmt.Errorf("%w: %w", vault.ErrDamaged, err)
	}
	s, err := c.Secret(ctx, domain.SecretID{UUID: id})
	if err != nil {
		return vault.Binding{}, err
	}
	for _, v := range s.Versions {
		if secretInput(domain.SecretID{UUID: id}, v.Number) == in.ID {
			return vault.OfSecret(in.Company, domain.SecretID{UUID: id}, v.Number), nil
		}
	}
	return vault.Binding{}, vault.ErrDamaged
}
