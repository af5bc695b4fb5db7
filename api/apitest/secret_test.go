package apitest_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
	"github.com/tenure-dev/tenure/domain/secretread"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// mark is a value that must be nowhere.
const mark = "MARK-91c4"

// whole sends a request and returns all of the answer, headers included.
func (s *server) whole(key, method, path, body string, header ...string) (int, string) {
	s.t.Helper()
	resp, answer := s.raw(key, method, path, body, header...)
	var head strings.Builder
	require.NoError(s.t, resp.Header.Write(&head))
	return resp.StatusCode, head.String() + string(answer)
}

func TestASecretIsAddedRotatedDisabledAndDestroyedAndItsValueIsNeverShown(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	added, err := tn.operator.AddSecret(t.Context(), tn.company, wire.AddSecret{Name: "deploy key", Description: "d", Value: mark + " 1"})
	require.NoError(t, err)
	require.Equal(t, "active", added.Status)
	require.Equal(t, tn.company, added.CompanyID)
	require.Equal(t, 1, added.LatestVersion)

	rotated, err := tn.operator.AddSecretVersion(t.Context(), added.ID, wire.AddSecretVersion{Value: mark + " 2"})
	require.NoError(t, err)
	require.Equal(t, 2, rotated.LatestVersion)
	status := func(x wire.Secret) (all []string) {
		for _, v := range x.Versions {
			all = append(all, v.Status)
		}
		return all
	}
	disabled, err := tn.operator.DisableSecretVersion(t.Context(), added.ID, 1)
	require.NoError(t, err)
	require.Equal(t, []string{"disabled", "active"}, status(disabled))
	enabled, err := tn.operator.EnableSecretVersion(t.Context(), added.ID, 1)
	require.NoError(t, err)
	require.Equal(t, []string{"active", "active"}, status(enabled))
	destroyed, err := tn.operator.DestroySecretVersion(t.Context(), added.ID, 1)
	require.NoError(t, err)
	require.Equal(t, []string{"destroyed", "active"}, status(destroyed))
	_, err = tn.operator.EnableSecretVersion(t.Context(), added.ID, 1)
	require.True(t, client.IsCode(err, "secret_version_destroyed"), "%v", err)
	_, err = tn.operator.DisableSecretVersion(t.Context(), added.ID, 3)
	require.True(t, client.IsCode(err, "secret_version_not_found"), "%v", err)

	list, err := tn.admin.Secrets(t.Context(), tn.company, client.MinPosition(destroyed.Position))
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
	require.Equal(t, destroyed.Versions, list.Items[0].Versions)
	gone, err := tn.admin.DestroySecret(t.Context(), added.ID)
	require.NoError(t, err)
	require.Equal(t, "destroyed", gone.Status)
	again, err := tn.admin.DestroySecret(t.Context(), added.ID)
	require.NoError(t, err)
	require.Equal(t, gone.Version, again.Version)

	for _, path := range []string{
		"/api/v1/secrets/" + added.ID.String(), "/api/v1/companies/" + tn.company.String() + "/secrets", "/api/v1/events?limit=1000",
		"/api/v1/secrets/" + added.ID.String() + "/reads",
	} {
		code, answer := s.whole(s.adminKey, "GET", path, "")
		require.Equal(t, 200, code)
		require.NotContains(t, answer, mark, path)
	}
	require.NotContains(t, s.log.String(), mark)
}

func TestWhatIsWrongWithASecretIsSaidWithoutItsValue(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	path := "/api/v1/companies/" + tn.company.String() + "/secrets"
	for body, code := range map[string]string{
		`{"name":"s","value":["` + mark + `"]}`:                                       "wrong_type",
		`{"name":"s","value":"` + mark + `\u0000"}`:                                   "invalid_text",
		`{"name":"s","value":""}`:                                                     "missing_field",
		`{"name":"","value":"` + mark + `"}`:                                          "missing_field",
		`{"name":"s","value":"` + mark + strings.Repeat("x", domain.MaxSecret) + `"}`: "secret_too_long",
		`{"name":"s","value":"` + mark + `","values":"` + mark + `"}`:                 "unknown_field",
		`{"name":"s","value":"` + mark + `"`:                                          "invalid_json",
		`{"name":"s","value":"` + mark + `","value":"` + mark + `"}`:                  "duplicate_field",
	} {
		status, answer := s.whole(s.adminKey, "POST", path, body)
		require.GreaterOrEqual(t, status, 400, body)
		require.Contains(t, answer, `"code":"`+code+`"`, code)
		require.NotContains(t, answer, mark)
	}
	require.NotContains(t, s.log.String(), mark)
	p := s.problem(s.adminKey, "POST", "/api/v1/secrets/"+uuid.NewString()+"/versions/x/disable", "")
	require.Equal(t, "secret_not_found", p.Code)
}

func TestARepeatedSecretHasOneOutcomeAndItsStoredHashTellsNothing(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	path := "/api/v1/companies/" + tn.company.String() + "/secrets"
	body := `{"name":"pin","value":"1234"}`
	status, first := s.whole(s.adminKey, "POST", path, body, wire.HeaderIdempotencyKey, "k1")
	require.Equal(t, 201, status)
	status, second := s.whole(s.adminKey, "POST", path, body, wire.HeaderIdempotencyKey, "k1")
	require.Equal(t, 201, status)
	require.Contains(t, second, "Idempotency-Replayed: true")
	idOf := func(answer string) string {
		_, rest, _ := strings.Cut(answer, `"id":"`)
		return rest[:36]
	}
	require.Equal(t, idOf(first), idOf(second))
	p := s.problem(s.adminKey, "POST", path, strings.Replace(body, "1234", "1235", 1), wire.HeaderIdempotencyKey, "k1")
	require.Equal(t, "idempotency_key_reused", p.Code)

	// Whoever has the database and knows everything but the value gets the same hash only with the key of the vault.
	var stored []byte
	require.NoError(t, s.pool.QueryRow(t.Context(), `SELECT request_hash FROM commands ORDER BY position DESC LIMIT 1`).Scan(&stored))
	keyed := s.commands.Vault().Hash([]byte("POST"), []byte(path), []byte(body))
	require.Equal(t, keyed[:], stored)
}

func TestAnAuditorSeesSecretsAndTheirReadsAndAClientNeither(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	added, err := tn.admin.AddSecret(t.Context(), tn.company, wire.AddSecret{Name: "s", Value: mark})
	require.NoError(t, err)
	lease, worker := uuid.New(), uuid.New()
	for range 3 {
		_, err := eventstore.Execute(t.Context(), s.commands.Ledger(), eventstore.Options{}, func(ctx context.Context, w *eventstore.Work) error {
			w.Company(domain.CompanyID{UUID: tn.company})
			_, err := commands.ResolveSecrets(ctx, w, domain.CompanyID{UUID: tn.company}, []domain.SecretRef{{Secret: domain.SecretID{UUID: added.ID}}}, secretread.Read{
				Purpose: secretread.PurposeAcquire, Lease: domain.LeaseID{UUID: lease}, Worker: domain.WorkerID{UUID: worker},
			})
			return err
		})
		require.NoError(t, err)
	}
	auditor := tn.auditor
	page, err := auditor.SecretReads(t.Context(), added.ID, client.Page("", 2))
	require.NoError(t, err)
	require.Len(t, page.Items, 2)
	require.NotNil(t, page.Next)
	require.Equal(t, lease, *page.Items[0].LeaseID)
	require.Equal(t, worker, *page.Items[0].WorkerID)
	require.Equal(t, "acquire", page.Items[0].Purpose)
	require.Equal(t, 1, page.Items[0].Version)
	require.Nil(t, page.Items[0].ExecID)
	rest, err := auditor.SecretReads(t.Context(), added.ID, client.Page(*page.Next, 2))
	require.NoError(t, err)
	require.Len(t, rest.Items, 1)
	require.Nil(t, rest.Next)
	_, err = auditor.Secret(t.Context(), added.ID)
	require.NoError(t, err)
	_, err = auditor.AddSecretVersion(t.Context(), added.ID, wire.AddSecretVersion{Value: "x"})
	require.True(t, client.IsCode(err, "forbidden"), "%v", err)
	for _, call := range []func() error{
		func() error { _, err := tn.client.Secrets(t.Context(), tn.company); return err },
		func() error { _, err := tn.client.Secret(t.Context(), added.ID); return err },
		func() error { _, err := tn.client.SecretReads(t.Context(), added.ID); return err },
	} {
		require.True(t, client.IsCode(call(), "forbidden"))
	}
}

func TestAnEnvironmentShowsReferencesAndNeverValues(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	token, err := tn.operator.AddSecret(t.Context(), tn.company, wire.AddSecret{Name: "token", Value: mark})
	require.NoError(t, err)
	ref := &wire.SecretRef{SecretID: token.ID, Version: 1}
	env, err := tn.operator.AddEnvironment(t.Context(), tn.company, wire.AddEnvironment{
		Name: "build", Driver: "local", Config: json.RawMessage(`{"path":"/x","privateKey":"` + mark + ` key","token":"` + mark + ` token"}`),
		EnvVars: map[string]wire.EnvValue{"TOKEN": {SecretRef: ref}, "CI": {Plain: "true"}},
	})
	require.NoError(t, err)
	require.Equal(t, map[string]wire.EnvValue{"TOKEN": {SecretRef: ref}, "CI": {Plain: "true"}}, env.EnvVars)
	var config struct {
		Path                string
		PrivateKey          *string
		PrivateKeySecretRef wire.SecretRef
		Token               wire.SecretRef
	}
	require.NoError(t, json.Unmarshal(env.Config, &config))
	require.Nil(t, config.PrivateKey)
	require.NotEqual(t, config.Token.SecretID, config.PrivateKeySecretRef.SecretID)

	// A raw value in the place of a reference is a new version of that secret; a variable may become a reference and back.
	patched, err := tn.operator.PatchEnvironment(t.Context(), env.ID, json.RawMessage(`{"config":{"privateKey":"`+mark+` other"},
		"envVars":{"TOKEN":"plain","CI":{"type":"secret_ref","secretId":"`+token.ID.String()+`"}}}`))
	require.NoError(t, err)
	require.JSONEq(t, string(env.Config), string(patched.Config))
	require.Equal(t, map[string]wire.EnvValue{"TOKEN": {Plain: "plain"}, "CI": {SecretRef: &wire.SecretRef{SecretID: token.ID}}}, patched.EnvVars)
	key, err := tn.operator.Secret(t.Context(), config.PrivateKeySecretRef.SecretID)
	require.NoError(t, err)
	require.Equal(t, 2, key.LatestVersion)
	require.Equal(t, "build privateKey", key.Name)

	stranger := s.tenant("stranger")
	operator := s.addKey(access.RoleOperator, stranger.company)
	before := s.head()
	for body, field := range map[string]string{
		`{"envVars":{"X":{"type":"secret_ref","secretId":"` + token.ID.String() + `"}}}`:                "envVars.X",
		`{"config":{"token":{"type":"secret_ref","secretId":"` + token.ID.String() + `","version":1}}}`: "config.token",
		`{"config":{"token":{"type":"secret_ref","secretId":"` + uuid.NewString() + `"}}}`:              "config.token",
		`{"config":{"token":{"type":"secret_ref","secretId":"` + mark + `"}}}`:                          "config.token",
		`{"envVars":{"X":{"type":"secret_ref","secretId":"` + mark + `"}}}`:                             "envVars",
		`{"envVars":{"X":["` + mark + `"]}}`:                                                            "envVars",
	} {
		p := s.problem(operator, "PATCH", "/api/v1/environments/"+stranger.env.ID.String(), body, "Content-Type", wire.TypeMergePatch)
		require.Equal(t, field, p.Field, body)
		require.NotContains(t, p.Detail+p.Cause+p.Remediation, mark)
	}
	require.Equal(t, before, s.head(), "what was refused made nothing")

	for _, path := range []string{"/api/v1/environments/" + env.ID.String(), "/api/v1/events?limit=1000", "/api/v1/companies/" + tn.company.String() + "/environments"} {
		_, answer := s.whole(s.adminKey, "GET", path, "")
		require.NotContains(t, answer, mark, path)
	}
	require.NotContains(t, s.log.String(), mark)
	var rows int
	require.NoError(t, s.pool.QueryRow(t.Context(), `SELECT count(*) FROM inputs WHERE position($1::bytea IN value) > 0`, []byte(mark)).Scan(&rows))
	require.Zero(t, rows)
}

func TestASecretThatALeaseNeedsIsDestroyedByForceOnly(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	env, err := tn.operator.AddEnvironment(t.Context(), tn.company, wire.AddEnvironment{
		Name: "keyed", Driver: "local", Config: json.RawMessage(`{"privateKey":"value-of-key"}`),
	})
	require.NoError(t, err)
	secrets, err := tn.operator.Secrets(t.Context(), tn.company, client.MinPosition(s.head()))
	require.NoError(t, err)
	require.Len(t, secrets.Items, 1)
	id := secrets.Items[0].ID
	_, err = tn.operator.AddSecretVersion(t.Context(), id, wire.AddSecretVersion{Value: "value-of-key-2"})
	require.NoError(t, err)
	acquired, ready, err := tn.client.AcquireLease(t.Context(), tn.company, wire.AcquireLease{EnvironmentID: env.ID, HeartbeatRunID: "sticky"}, client.Wait(time.Minute))
	require.NoError(t, err)
	require.True(t, ready)

	inUse := func(err error, status string) {
		t.Helper()
		var p *client.Problem
		require.ErrorAs(t, err, &p)
		require.Equal(t, "secret_in_use", p.Code)
		require.Equal(t, []wire.Blocker{{Kind: "lease", ID: acquired.Lease.ID.String(), Status: status}}, p.Blockers)
	}
	_, err = tn.operator.DestroySecret(t.Context(), id)
	inUse(err, "active")
	_, err = tn.client.ReleaseLease(t.Context(), acquired.Lease.ID, wire.Release{})
	require.NoError(t, err)
	_, err = tn.operator.DestroySecret(t.Context(), id)
	inUse(err, "releasing")
	_, err = tn.operator.ForceCleanup(t.Context(), acquired.Lease.ID, wire.ForceCleanup{Reason: "stuck"})
	require.NoError(t, err)
	_, err = tn.operator.DestroySecret(t.Context(), id)
	var p *client.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, "leak", p.Blockers[0].Kind, "what is left of it needs it as well")
	gone, err := tn.operator.DestroySecret(t.Context(), id, client.Force())
	require.NoError(t, err)
	require.Equal(t, "destroyed", gone.Status)
	_, err = tn.operator.DestroySecret(t.Context(), id)
	require.NoError(t, err, "doing so again changes nothing")

	// A secret of the same value that no lease needs.
	free, err := tn.operator.AddSecret(t.Context(), tn.company, wire.AddSecret{Name: "free", Value: "value-of-free"})
	require.NoError(t, err)
	_, err = tn.operator.DestroySecretVersion(t.Context(), free.ID, 1)
	require.NoError(t, err)
}
