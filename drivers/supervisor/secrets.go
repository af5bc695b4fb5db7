package supervisor

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/secretread"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// need are the secrets that a configuration refers to. Reading them is recorded with the claim that they are read for, so
// nothing is read that the log does not know of.
func (s *Supervisor) need(config json.RawMessage, read secretread.Read) (commands.Need, error) {
	read.Worker = s.deps.Process.ID
	refs, err := commands.SecretRefs(config)
	return commands.Need{Refs: refs, Read: read}, err
}

// provisioningNeed is what the provisioning of a lease needs. The secrets of its environment's variables are read by each
// command; that they can be is looked at here, so that a lease which could run nothing fails before it has a runtime.
func (s *Supervisor) provisioningNeed(ctx context.Context, id domain.LeaseID, l lease.State) (commands.Need, error) {
	need, err := s.need(l.Config, secretread.Read{Purpose: secretread.PurposeAcquire, Lease: id, Environment: l.Environment})
	if err != nil {
		return need, err
	}
	env, err := s.deps.Commands.EnvironmentAt(ctx, l.Environment, l.EnvironmentVersion)
	if err != nil {
		return need, err
	}
	need.Check = refsOf(env.EnvVars)
	return need, nil
}

func refsOf(vars map[string]domain.EnvValue) []domain.SecretRef {
	var refs []domain.SecretRef
	for _, v := range vars {
		if !v.Ref.IsZero() {
			refs = append(refs, v.Ref)
		}
	}
	return refs
}

// open puts the secrets that a claim got into a configuration. The result is neither logged nor kept.
func (s *Supervisor) open(config json.RawMessage, got commands.Got) (opened json.RawMessage, err error) {
	err = s.persist(func(ctx context.Context) error {
		values, err := s.deps.Commands.Secrets(ctx, got)
		if err == nil {
			opened, err = commands.ReplaceSecretRefs(config, values)
		}
		return err
	})
	return opened, err
}

// readConfig is the configuration of a lease with its secrets, where there is no claim to read them with.
func (s *Supervisor) readConfig(ctx context.Context, id domain.LeaseID, l lease.State, purpose secretread.Purpose) (json.RawMessage, error) {
	need, err := s.need(l.Config, secretread.Read{Purpose: purpose, Lease: id, Environment: l.Environment})
	if err != nil {
		return nil, err
	}
	values, err := s.deps.Commands.ReadSecrets(ctx, s.me(uuid.Nil), l.Company, need)
	if err != nil {
		return nil, err
	}
	return commands.ReplaceSecretRefs(l.Config, values)
}

// noSecret says that a secret cannot be read, which is known before anything outside is touched.
func noSecret(err error) error {
	f := &drivers.Failure{
		Outcome: drivers.OutcomeDefinite, Code: "secret_unavailable", Step: "read_secrets", Err: err,
		Remediation: "see whether the secrets of the configuration exist and are enabled: tenure secret list",
	}
	if r, ok := errors.AsType[*domain.Refusal](err); ok {
		f.Code, f.Remediation = r.Code, r.Remediation
	}
	return f
}
