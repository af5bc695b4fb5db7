package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/secret"
	"github.com/tenure-dev/tenure/eventstore"
)

// SecretField is a place for a secret within a configuration, as JSON pointers: where the secret itself may be written, and
// where a reference to it is kept, which may be the same place.
type SecretField struct{ Value, Ref string }

// SecretFields tells which fields of a driver's configuration are secrets. The error says that the driver cannot be asked now;
// then a configuration that is new is not stored, since a secret might stand in it in the clear.
type SecretFields func(driver string, config json.RawMessage) ([]SecretField, error)

// NoSecretFields is for drivers without secrets.
func NoSecretFields(string, json.RawMessage) ([]SecretField, error) { return nil, nil }

// PreferRawSecrets removes the references that raw values in the same configuration are to replace, so that no driver sees
// two secrets where it takes one. Without raw values the configuration is returned as it is.
func PreferRawSecrets(config json.RawMessage, fields []SecretField) (json.RawMessage, error) {
	document, err := decodeConfig(config)
	if err != nil {
		return nil, err
	}
	changed := false
	for _, f := range fields {
		_, _, raw, ok := at(document, f.Value)
		if _, text := raw.(string); !ok || !text || f.Value == f.Ref {
			continue
		}
		if parent, name, _, ok := at(document, f.Ref); ok {
			if m, ok := parent.(map[string]any); ok {
				delete(m, name)
				changed = true
			}
		}
	}
	if !changed {
		return config, nil
	}
	return encodeConfig(document)
}

// SecretOwner is whose configuration secrets are stored for.
type SecretOwner struct {
	Company domain.CompanyID
	// Name is the environment's, which the names of new secrets begin with.
	Name string
}

// StoreRawSecrets moves the secrets that stand in a configuration in the clear into secrets of the company, in the work's
// append, and leaves references to their latest versions. Where before, the configuration as it was, has a reference to a
// secret that still takes values, the value becomes a new version of that one.
func (c *Commands) StoreRawSecrets(
	ctx context.Context, w *eventstore.Work, owner SecretOwner, before, config json.RawMessage, fields []SecretField,
) (json.RawMessage, error) {
	document, err := decodeConfig(config)
	if err != nil {
		return nil, err
	}
	old, err := decodeConfig(before)
	if err != nil {
		return nil, err
	}
	changed := false
	for _, f := range fields {
		parent, name, value, ok := at(document, f.Value)
		raw, text := value.(string)
		if !ok || !text {
			continue
		}
		if err := domain.CheckSecretValue(fieldOf(f.Value), raw); err != nil {
			return nil, err
		}
		var was domain.SecretRef
		if _, _, v, ok := at(old, f.Ref); ok {
			was, _ = refOf(v) // what is no reference is none
		}
		ref, err := c.storeRaw(ctx, w, owner, f, was, raw)
		if err != nil {
			return nil, err
		}
		if m, ok := parent.(map[string]any); ok && f.Value != f.Ref {
			delete(m, name)
		}
		refParent, refName, _, _ := at(document, f.Ref)
		if !put(refParent, refName, ref) {
			return nil, fmt.Errorf("the configuration has no place %s for a reference", f.Ref)
		}
		changed = true
	}
	if !changed {
		return config, nil
	}
	return encodeConfig(document)
}

// storeRaw stores one value, as a new version of the secret that was there or as a new secret.
func (c *Commands) storeRaw(
	ctx context.Context, w *eventstore.Work, owner SecretOwner, f SecretField, was domain.SecretRef, value string,
) (domain.SecretRef, error) {
	if !was.IsZero() {
		s, err := eventstore.View(ctx, w, Secrets, was.Secret.UUID)
		if err != nil {
			return domain.SecretRef{}, err
		}
		if s.Status == secret.StatusActive && s.Company == owner.Company {
			return domain.SecretRef{Secret: was.Secret}, c.addVersion(ctx, w, was.Secret, owner.Company, value)
		}
	}
	id, err := uuid.NewV7()
	if err != nil {
		return domain.SecretRef{}, fmt.Errorf("make an id: %w", err)
	}
	ref := domain.SecretRef{Secret: domain.SecretID{UUID: id}}
	return ref, c.addSecret(ctx, w, NewSecret{ID: ref.Secret, Company: owner.Company, Name: secretName(owner.Name, f.Value), Value: value})
}

// secretName is made of the environment's name and the field's; the field's end is what tells it from others.
func secretName(environment, pointer string) string {
	field := []rune(fieldOf(pointer)[len("config."):])
	if most := domain.MaxName / 2; len(field) > most {
		field = field[len(field)-most:]
	}
	name := []rune(environment)
	if most := domain.MaxName - len(field) - 1; len(name) > most {
		name = name[:most]
	}
	return string(name) + " " + string(field)
}

// storeSettings moves the secrets of new settings into the vault, and checks the references that they have and the ones
// before them had not.
func (c *Commands) storeSettings(
	ctx context.Context, w *eventstore.Work, company domain.CompanyID, before, settings environment.Reconfigured, fields SecretFields,
) (environment.Reconfigured, error) {
	if err := domain.CheckName("name", settings.Name); err != nil {
		return settings, err
	}
	if len(settings.Config) > 0 {
		if err := domain.CheckObject("config", settings.Config); err != nil {
			return settings, err
		}
	}
	known, err := SecretRefs(before.Config)
	if err != nil {
		return settings, err
	}
	known = append(known, domain.EnvSecrets(before.EnvVars)...)
	found, err := FindSecretRefs(settings.Config)
	if err != nil {
		return settings, err
	}
	for _, f := range found {
		if err := checkRef(ctx, w, company, f.Ref, known, fieldOf(f.Pointer)); err != nil {
			return settings, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(settings.EnvVars)) {
		if ref := settings.EnvVars[name].Ref; !ref.IsZero() {
			if err := checkRef(ctx, w, company, ref, known, "envVars."+name); err != nil {
				return settings, err
			}
		}
	}
	held, err := fields(settings.Driver, settings.Config)
	switch {
	case err == nil:
	case settings.Driver == before.Driver && domain.SameJSON(settings.Config, before.Config):
		return settings, nil // it is stored already, and its plugin may be gone for good
	default:
		return settings, err
	}
	settings.Config, err = c.StoreRawSecrets(ctx, w, SecretOwner{company, settings.Name}, before.Config, settings.Config, held)
	return settings, err
}

// checkRef refuses a new reference to a secret that is not the company's, or that has no value to give.
func checkRef(ctx context.Context, w *eventstore.Work, company domain.CompanyID, ref domain.SecretRef, known []domain.SecretRef, field string) error {
	if slices.Contains(known, ref) {
		return nil
	}
	_, _, err := pick(ctx, w, company, ref)
	return on(err, field)
}
