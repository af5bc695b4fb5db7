package supervisor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/secretread"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

const hidden = "hunter2-and-more"

// secret adds one with a value.
func (w *world) secret(value string) domain.SecretRef {
	w.Helper()
	id := domain.SecretID{UUID: uuid.New()}
	_, err := w.client.AddSecret(w.Context(), commands.Caller{}, commands.NewSecret{ID: id, Company: w.company, Name: "deploy key", Value: value})
	require.NoError(w, err)
	return domain.SecretRef{Secret: id}
}

// withSecrets registers an environment whose configuration and variable refer to a secret.
func (w *world) withSecrets(ref domain.SecretRef) domain.EnvironmentID {
	w.Helper()
	raw, err := json.Marshal(ref)
	require.NoError(w, err)
	id := domain.EnvironmentID{UUID: uuid.New()}
	_, err = w.client.RegisterEnvironment(w.Context(), commands.Caller{}, id, environment.Registered{
		Company: w.company, Name: "env-" + id.String(), Driver: "fake", Config: json.RawMessage(fmt.Sprintf(`{"image":%s}`, raw)),
		EnvVars: map[string]domain.EnvValue{"TOKEN": {Ref: ref}, "PLAIN": {Plain: "p"}},
	}, commands.NoSecretFields)
	require.NoError(w, err)
	return id
}

func (w *world) purposes(ref domain.SecretRef) []secretread.Purpose {
	w.Helper()
	events, err := w.store.ReadStream(w.Context(), commands.SecretReads.Stream(ref.Secret.UUID), 0, 0)
	require.NoError(w, err)
	var out []secretread.Purpose
	for _, r := range events {
		e, err := secretread.Codec.Decode(r.Name, r.Revision, r.Payload)
		require.NoError(w, err)
		out = append(out, e.(secretread.Read).Purpose)
	}
	return out
}

// seen are the configurations and variables that the driver was given.
type seen struct {
	mu    sync.Mutex
	given []string
}

func (s *seen) add(config json.RawMessage, env ...drivers.EnvVar) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given = append(s.given, string(config))
	for _, v := range env {
		if v.Name == "TOKEN" {
			s.given = append(s.given, v.Value)
		}
	}
}

func (s *seen) hooks() fake.Hooks {
	return fake.Hooks{
		BeforeAcquire: func(_ context.Context, r drivers.AcquireRequest) error { s.add(r.Config); return nil },
		BeforeExec:    func(_ context.Context, r drivers.ExecRequest) error { s.add(r.Config, r.Env...); return nil },
		BeforeRelease: func(_ context.Context, r drivers.ReleaseRequest) error { s.add(r.Config); return nil },
		Probe: func(_ context.Context, r drivers.ProbeRequest) (drivers.ProbeResult, error) {
			s.add(r.Config)
			return drivers.ProbeResult{OK: true, Summary: "fine"}, nil
		},
	}
}

func TestADriverIsGivenSecretsAndEachReadIsOnRecord(t *testing.T) {
	var s seen
	inWorld(t, fake.Options{Hooks: s.hooks()}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		ref := w.secret(hidden)
		env := w.withSecrets(ref)
		id := w.acquire(in(env))
		w.isLease(lease.StatusActive, id)
		x := w.exec(id, "echo", "hi")
		w.hasEnded(execution.EndExited, x)
		w.release(id)
		w.isLease(lease.StatusReleased, id)
		config := `{"image":"` + hidden + `"}`
		require.Equal(t, []string{config, config, hidden, config}, s.given)
		require.Equal(t, []secretread.Purpose{secretread.PurposeAcquire, secretread.PurposeExec, secretread.PurposeRelease}, w.purposes(ref))
		events, err := w.store.ReadAll(t.Context(), 0, 0)
		require.NoError(t, err)
		for _, e := range events {
			require.NotContains(t, string(e.Payload), hidden, e.Name)
		}
		require.NotContains(t, n.logs.String(), hidden)
	})
}

func TestALeaseWhoseSecretIsMissingFailsBeforeItsDriverIsAsked(t *testing.T) {
	var s seen
	inWorld(t, fake.Options{Hooks: s.hooks()}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		ref := w.secret(hidden)
		env := w.withSecrets(ref)
		_, err := w.client.DestroySecret(t.Context(), commands.Caller{}, ref.Secret)
		require.NoError(t, err)
		id := w.acquire(in(env))
		l := w.isLease(lease.StatusFailed, id)
		require.Equal(t, "secret_destroyed", l.FailureCode)
		require.Contains(t, l.FailureMessage, "deploy key", "by name")
		require.Equal(t, lease.CleanupNone, l.CleanupStatus(), "nothing was made")
		require.Empty(t, s.given)
		require.Empty(t, w.purposes(ref))
	})
}

func TestACommandWhoseSecretIsGoneNeverRunsAndATeardownIsTriedUntilItIsBack(t *testing.T) {
	var s seen
	inWorld(t, fake.Options{Hooks: s.hooks()}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		ref := w.secret(hidden)
		env := w.withSecrets(ref)
		id := w.acquire(in(env))
		w.isLease(lease.StatusActive, id)
		_, err := w.client.DisableSecretVersion(t.Context(), commands.Caller{}, ref.Secret, 1)
		require.NoError(t, err)
		ended := w.hasEnded(execution.EndStartFailed, w.exec(id, "echo", "hi"))
		require.Equal(t, "secret_version_disabled", ended.Code)
		require.Contains(t, ended.Message, "deploy key")
		require.NotContains(t, ended.Message, ref.Secret.String()+`"`, "the reference is no value")
		w.release(id)
		w.pass(10 * time.Second)
		l := w.isLease(lease.StatusPendingCleanup, id)
		require.Equal(t, "secret_version_disabled", l.TeardownCode)
		require.Len(t, s.given, 1, "the driver is not asked without it")
		_, err = w.client.EnableSecretVersion(t.Context(), commands.Caller{}, ref.Secret, 1)
		require.NoError(t, err)
		w.pass(2 * time.Minute)
		w.isLease(lease.StatusReleased, id)
	})
}

func TestTheSecretsOfUnsavedSettingsAreForTheirProbeAlone(t *testing.T) {
	var s seen
	inWorld(t, fake.Options{Hooks: s.hooks()}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		ref := w.secret("stored")
		raw, err := json.Marshal(ref)
		require.NoError(t, err)
		id := domain.ProbeID{UUID: uuid.New()}
		_, err = w.client.RequestProbe(t.Context(), commands.Caller{}, commands.Probe{
			Probe: id, Company: w.company, Driver: "fake", Config: json.RawMessage(fmt.Sprintf(`{"key":{"raw":%q,"ref":%s}}`, hidden, raw)),
			Provider: func(driver string, _ json.RawMessage) string { return driver },
			Fields: func(string, json.RawMessage) ([]commands.SecretField, error) {
				return []commands.SecretField{{Value: "/key/raw", Ref: "/key/raw"}}, nil
			},
		})
		require.NoError(t, err)
		require.True(t, w.answered(id).OK)
		require.JSONEq(t, fmt.Sprintf(`{"key":{"raw":%q,"ref":"stored"}}`, hidden), s.given[0])
		require.Equal(t, []secretread.Purpose{secretread.PurposeProbe}, w.purposes(ref))
		values, err := w.client.Values(t.Context(), id.UUID)
		require.NoError(t, err)
		require.Empty(t, values.Env, "gone with the probe")
		events, err := w.store.ReadAll(t.Context(), 0, 0)
		require.NoError(t, err)
		require.NotContains(t, fmt.Sprint(events), hidden)
		for _, e := range events {
			require.NotContains(t, string(e.Payload), hidden, e.Name)
		}

		foreign := domain.SecretRef{Secret: domain.SecretID{UUID: uuid.New()}}
		raw, err = json.Marshal(foreign)
		require.NoError(t, err)
		_, err = w.client.RequestProbe(t.Context(), commands.Caller{}, commands.Probe{
			Probe: domain.ProbeID{UUID: uuid.New()}, Company: w.company, Driver: "fake", Config: json.RawMessage(fmt.Sprintf(`{"image":%s}`, raw)),
			Provider: func(driver string, _ json.RawMessage) string { return driver }, Fields: commands.NoSecretFields,
		})
		require.ErrorContains(t, err, "config.image")
	})
}

// Each reading of a secret is on record, so a place that cannot be listed without one is listed more seldom than others.
func TestAPlaceThatNeedsASecretIsListedSeldomAndEachReadIsOnRecord(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{ReapInterval: time.Minute, SecretReapInterval: 30 * time.Minute})
		ref := w.secret(hidden)
		w.withSecrets(ref)
		w.pass(10 * time.Minute)
		require.Equal(t, []secretread.Purpose{secretread.PurposeList}, w.purposes(ref))
		w.pass(30 * time.Minute)
		require.Equal(t, []secretread.Purpose{secretread.PurposeList, secretread.PurposeList}, w.purposes(ref))
	})
}
