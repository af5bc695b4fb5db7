package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/secret"
	"github.com/tenure-dev/tenure/domain/secretread"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/vault"
)

// Resolved are references that were found good, with the version that each of them means. The values are got with
// [Commands.OpenSecrets], once the append that records the reads has happened.
type Resolved []ResolvedSecret

// ResolvedSecret is one of them.
type ResolvedSecret struct {
	Ref     domain.SecretRef
	Company domain.CompanyID
	Name    string
	Version int
}

// SecretValues are values by the reference that stands for them. They are neither logged nor kept.
type SecretValues map[domain.SecretRef]string

// String, GoString and LogValue keep values out of logs and errors, whoever prints them.
func (v SecretValues) String() string { return fmt.Sprintf("%d secret values, not shown", len(v)) }

// GoString is String.
func (v SecretValues) GoString() string { return v.String() }

// LogValue is String.
func (v SecretValues) LogValue() slog.Value { return slog.StringValue(v.String()) }

// ResolveSecrets finds which versions references mean, and puts a read of each into the work's append, as read describes it
// but for its version. Each secret must be the company's own, and the version usable; the refusal names the first one that
// is not, and then no read is put into the append, which may go on without the values. The append is held to the secrets as
// they were seen, so no value of a version is given out that was disabled or destroyed before; reads of others do not stand
// in the way. Two references to one version are one read.
func ResolveSecrets(
	ctx context.Context, w *eventstore.Work, company domain.CompanyID, refs []domain.SecretRef, read secretread.Read,
) (Resolved, error) {
	var out Resolved
	for _, ref := range refs {
		if slices.ContainsFunc(out, func(r ResolvedSecret) bool { return r.Ref == ref }) {
			continue
		}
		s, version, err := pick(ctx, w, company, ref)
		if err != nil {
			return nil, err
		}
		out = append(out, ResolvedSecret{Ref: ref, Company: company, Name: s.Name, Version: version})
	}
	for i, r := range out {
		same := func(o ResolvedSecret) bool { return o.Ref.Secret == r.Ref.Secret && o.Version == r.Version }
		if slices.ContainsFunc(out[:i], same) {
			continue
		}
		read.Version = r.Version
		if err := eventstore.Note(w, SecretReads, r.Ref.Secret.UUID, secretread.Event(read)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// pick is the secret and the version that a reference of a company means.
func pick(ctx context.Context, w *eventstore.Work, company domain.CompanyID, ref domain.SecretRef) (secret.State, int, error) {
	s, err := eventstore.View(ctx, w, Secrets, ref.Secret.UUID)
	if err != nil {
		return s, 0, err
	}
	if s.Status == secret.StatusNone || s.Company != company {
		return secret.State{}, 0, secret.NotFound(ref.Secret)
	}
	version, err := s.Pick(ref)
	return s, version, err
}

// OpenSecrets returns the values of references that [ResolveSecrets] found good. One that was destroyed since then is a
// refusal that names it.
func (c *Commands) OpenSecrets(ctx context.Context, resolved Resolved) (SecretValues, error) {
	values := make(SecretValues, len(resolved))
	for _, r := range resolved {
		in, err := c.ledger.Store().ReadInput(ctx, secretInput(r.Ref.Secret, r.Version))
		if errors.Is(err, eventstore.ErrNoInput) {
			return nil, domain.Refuse(domain.KindGone, "secret_version_destroyed", "version %d of the secret %q (%s) is destroyed", r.Version, r.Name, r.Ref.Secret).
				Mend("add a new version, or refer to another one")
		}
		if err != nil {
			return nil, err
		}
		value, err := c.vault.Open(in.Value, vault.OfSecret(r.Company, r.Ref.Secret, r.Version))
		if err != nil {
			return nil, fmt.Errorf("open version %d of the secret %q (%s): %w", r.Version, r.Name, r.Ref.Secret, err)
		}
		values[r.Ref] = string(value)
	}
	return values, nil
}

// EnvVars are variables with the values in place of the references. A reference without a value is an error: what it says
// must never reach a process.
func (v SecretValues) EnvVars(vars map[string]domain.EnvValue) (map[string]string, error) {
	out := make(map[string]string, len(vars))
	for name, given := range vars {
		out[name] = given.Plain
		if given.Ref.IsZero() {
			continue
		}
		value, ok := v[given.Ref]
		if !ok {
			return nil, fmt.Errorf("the variable %q refers to the secret %s, whose value is not here", name, given.Ref)
		}
		out[name] = value
	}
	return out, nil
}

// Secret returns a secret as it is in the log now.
func (c *Commands) Secret(ctx context.Context, id domain.SecretID) (secret.State, error) {
	s, err := eventstore.Load(ctx, c.ledger, Secrets, id.UUID)
	return s.State, err
}
