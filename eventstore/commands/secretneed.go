package commands

import (
	"context"
	"errors"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/secretread"
	"github.com/tenure-dev/tenure/eventstore"
)

// Need says which secrets whoever claims something works with.
type Need struct {
	// Refs are read: with the claim each read is recorded. Check need only be usable; their values are not read.
	Refs, Check []domain.SecretRef
	// Read says who reads, and what for.
	Read secretread.Read
}

// Got is what a claim got of its [Need]. The values are got with [Commands.Values] of it, after the claim.
type Got struct {
	resolved Resolved
	// refused is why it got nothing: a secret that is missing, disabled or destroyed, by name. The claim holds all the same, so
	// that the refusal can be recorded.
	refused error
}

// settle finds what a claim needs, as a part of its append.
func settle(ctx context.Context, w *eventstore.Work, company domain.CompanyID, need Need) (Got, error) {
	for _, ref := range need.Check {
		if _, _, err := pick(ctx, w, company, ref); err != nil {
			return refusedOr(err)
		}
	}
	resolved, err := ResolveSecrets(ctx, w, company, need.Refs, need.Read)
	if err != nil {
		return refusedOr(err)
	}
	return Got{resolved: resolved}, nil
}

func refusedOr(err error) (Got, error) {
	if _, refused := errors.AsType[*domain.Refusal](err); refused {
		return Got{refused: err}, nil
	}
	return Got{}, err
}

// Secrets returns the values that a claim got. A refusal names the secret that cannot be read.
func (c *Commands) Secrets(ctx context.Context, got Got) (SecretValues, error) {
	if got.refused != nil {
		return nil, got.refused
	}
	return c.OpenSecrets(ctx, got.resolved)
}

// ReadSecrets reads values without a claim, and records that.
func (c *Commands) ReadSecrets(ctx context.Context, by Caller, company domain.CompanyID, need Need) (SecretValues, error) {
	if len(need.Refs)+len(need.Check) == 0 {
		return SecretValues{}, nil
	}
	var got Got
	_, err := eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) (err error) {
		w.Company(company)
		got, err = settle(ctx, w, company, need)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c.Secrets(ctx, got)
}
