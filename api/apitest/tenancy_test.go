package apitest_test

import (
	"encoding/json"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func TestCompanyIsAddedAndListed(t *testing.T) {
	t.Parallel()
	s := start(t)
	acme, err := s.admin.AddCompany(t.Context(), wire.AddCompany{Name: "acme"})
	require.NoError(t, err)
	require.Equal(t, "acme", acme.Name)
	require.Positive(t, acme.Position)
	other, err := s.admin.AddCompany(t.Context(), wire.AddCompany{Name: "other"})
	require.NoError(t, err)

	all, err := s.admin.Companies(t.Context(), client.MinPosition(other.Position))
	require.NoError(t, err)
	require.Len(t, all.Items, 2)
	require.GreaterOrEqual(t, all.Position, other.Position)

	first, err := s.admin.Companies(t.Context(), client.Page("", 1))
	require.NoError(t, err)
	require.Equal(t, acme.ID, first.Items[0].ID)
	second, err := s.admin.Companies(t.Context(), client.Page(*first.Next, 1))
	require.NoError(t, err)
	require.Equal(t, other.ID, second.Items[0].ID)
	require.Nil(t, second.Next)
}

func TestDefaultEnvironmentIsSetOnTheCompanysVersion(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn, other := s.tenant("acme"), s.tenant("other")
	set, err := tn.operator.PatchCompany(t.Context(), tn.company, map[string]any{"defaultEnvironmentId": tn.env.ID}, client.IfMatch(1))
	require.NoError(t, err)
	require.Equal(t, &tn.env.ID, set.DefaultEnvironmentID)
	require.EqualValues(t, 2, set.Version)
	list, err := tn.client.Companies(t.Context(), client.MinPosition(set.Position))
	require.NoError(t, err)
	require.Equal(t, &tn.env.ID, list.Items[0].DefaultEnvironmentID)

	_, err = tn.operator.PatchCompany(t.Context(), tn.company, map[string]any{"defaultEnvironmentId": nil}, client.IfMatch(1))
	require.True(t, client.IsCode(err, "precondition_failed"), "%v", err)
	_, err = tn.client.PatchCompany(t.Context(), tn.company, map[string]any{"defaultEnvironmentId": nil})
	require.True(t, client.IsCode(err, "forbidden"), "%v", err)

	archived, err := tn.operator.AddEnvironment(t.Context(), tn.company, wire.AddEnvironment{Name: "old", Driver: "local"})
	require.NoError(t, err)
	_, err = tn.operator.ArchiveEnvironment(t.Context(), archived.ID, wire.RetireEnvironment{})
	require.NoError(t, err)
	for patch, want := range map[string]wire.Problem{
		`{"defaultEnvironmentId":"` + other.env.ID.String() + `"}`: {Status: 404, Code: "environment_not_found", Field: "defaultEnvironmentId"},
		`{"defaultEnvironmentId":"` + uuid.NewString() + `"}`:      {Status: 404, Code: "environment_not_found", Field: "defaultEnvironmentId"},
		`{"defaultEnvironmentId":"` + archived.ID.String() + `"}`:  {Status: 409, Code: "environment_archived", Field: "defaultEnvironmentId"},
		`{"defaultEnvironmentId":"moon"}`:                          {Status: 400, Code: "invalid_id", Field: "defaultEnvironmentId"},
		`{"defaultEnvironmentId":"` + uuid.Nil.String() + `"}`:     {Status: 400, Code: "invalid_id", Field: "defaultEnvironmentId"},
		`{"name":"x"}`: {Status: 400, Code: "unknown_field", Field: "name"},
	} {
		p := s.problem(s.adminKey, "PATCH", "/api/v1/companies/"+tn.company.String(), patch, "Content-Type", wire.TypeMergePatch)
		require.Equal(t, want, wire.Problem{Status: p.Status, Code: p.Code, Field: p.Field}, patch)
	}

	same, err := tn.operator.PatchCompany(t.Context(), tn.company, map[string]any{})
	require.NoError(t, err)
	require.Equal(t, set.Version, same.Version, "what was refused changed nothing")
	require.Equal(t, &tn.env.ID, same.DefaultEnvironmentID)
	none, err := tn.operator.PatchCompany(t.Context(), tn.company, map[string]any{"defaultEnvironmentId": nil})
	require.NoError(t, err)
	require.Nil(t, none.DefaultEnvironmentID)
	require.EqualValues(t, 3, none.Version)
}

func TestCompanyKeySeesItsCompanyOnly(t *testing.T) {
	t.Parallel()
	s := start(t)
	one, two := s.tenant("one"), s.tenant("two")
	list, err := one.client.Companies(t.Context(), client.MinPosition(s.head()))
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
	require.Equal(t, one.company, list.Items[0].ID)
	require.NotEqual(t, one.company, two.company)
}

func TestKeyIsShownOnceAndWorksUntilItIsRevoked(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	k, err := tn.admin.AddKey(t.Context(), tn.company, wire.AddKey{Name: "ci", Role: "client"})
	require.NoError(t, err)
	require.Regexp(t, `^tnr_[0-9a-f]{32}_[A-Za-z0-9_-]{43}$`, k.Key)
	ci := s.client(k.Key)
	_, err = ci.Environment(t.Context(), tn.env.ID)
	require.NoError(t, err)

	list, err := tn.admin.Keys(t.Context(), tn.company, client.MinPosition(k.Position))
	require.NoError(t, err)
	for _, item := range list.Items {
		require.Empty(t, item.Key)
	}

	revoked, err := tn.admin.RevokeKey(t.Context(), k.ID)
	require.NoError(t, err)
	require.Equal(t, "revoked", revoked.Status)
	_, err = ci.Environment(t.Context(), tn.env.ID)
	require.True(t, client.IsCode(err, "unauthorized"), "%v", err)
	again, err := tn.admin.RevokeKey(t.Context(), k.ID)
	require.NoError(t, err)
	require.Equal(t, revoked.Version, again.Version)
}

func TestKeySecretIsInNoEventAndNoLog(t *testing.T) {
	t.Parallel()
	s := start(t)
	k, err := s.admin.AddKey(t.Context(), uuid.Nil, wire.AddKey{Name: "op", Role: "operator"})
	require.NoError(t, err)
	require.Nil(t, k.CompanyID)
	secret := k.Key[len(k.Key)-43:]
	events, err := s.admin.Events(t.Context())
	require.NoError(t, err)
	raw, err := json.Marshal(events)
	require.NoError(t, err)
	require.NotContains(t, string(raw), secret)
	require.NotContains(t, s.log.String(), secret)
}

func TestRepeatedKeyCreationIsRefusedSinceTheSecretIsNotReplayed(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	_, err := tn.admin.AddKey(t.Context(), tn.company, wire.AddKey{Name: "ci", Role: "client"}, client.IdempotencyKey("k1"))
	require.NoError(t, err)
	_, err = tn.admin.AddKey(t.Context(), tn.company, wire.AddKey{Name: "ci", Role: "client"}, client.IdempotencyKey("k1"))
	require.True(t, client.IsCode(err, "secret_not_replayed"), "%v", err)
}

func TestOnlyWhoReachesEveryCompanyMakesSuchKeys(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	_, err := tn.admin.AddKey(t.Context(), uuid.Nil, wire.AddKey{Name: "all", Role: "admin"})
	require.True(t, client.IsCode(err, "company_key"), "%v", err)
	_, err = tn.operator.AddKey(t.Context(), tn.company, wire.AddKey{Name: "x", Role: "client"})
	require.True(t, client.IsCode(err, "forbidden"), "%v", err)
}

func TestEnvironmentIsChangedByMergePatchOnItsVersion(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	env, err := tn.operator.AddEnvironment(t.Context(), tn.company, wire.AddEnvironment{
		Name: "build", Driver: "local", Description: "old", MaxLeases: 2, EnvVars: wire.PlainVars(map[string]string{"A": "1", "B": "2"}),
		Metadata: json.RawMessage(`{"deep":{"keep":12345678901234567890,"drop":1}}`),
	})
	require.NoError(t, err)

	changed, err := tn.operator.PatchEnvironment(t.Context(), env.ID, map[string]any{
		"description": nil, "envVars": map[string]any{"A": nil, "C": "3"}, "metadata": map[string]any{"deep": map[string]any{"drop": nil}}, "maxLeases": 5,
	}, client.IfMatch(env.Version))
	require.NoError(t, err)
	require.Empty(t, changed.Description)
	require.Equal(t, wire.PlainVars(map[string]string{"B": "2", "C": "3"}), changed.EnvVars)
	require.JSONEq(t, `{"deep":{"keep":12345678901234567890}}`, string(changed.Metadata))
	require.Contains(t, string(changed.Metadata), "12345678901234567890")
	require.Equal(t, 5, changed.MaxLeases)
	require.Equal(t, "build", changed.Name)
	require.Greater(t, changed.Version, env.Version)

	_, err = tn.operator.PatchEnvironment(t.Context(), env.ID, map[string]any{"name": "late"}, client.IfMatch(env.Version))
	require.True(t, client.IsCode(err, "precondition_failed"), "%v", err)
	for patch, field := range map[string]string{
		`{"name":null}`: "name", `{"nome":"x"}`: "nome", `{"maxLeases":"5"}`: "maxLeases", `{"driver":"moon"}`: "driver",
		`{"config":{"shell":"x"}}`: "config.shell", `{"envVars":{"A=B":"x"}}`: "envVars.A=B", `{"config":7}`: "config",
	} {
		p := s.problem(s.adminKey, "PATCH", "/api/v1/environments/"+env.ID.String(), patch, "Content-Type", wire.TypeMergePatch)
		require.Equal(t, 400, p.Status, patch)
		require.Equal(t, field, p.Field, patch)
	}
	same, err := tn.client.Environment(t.Context(), env.ID)
	require.NoError(t, err)
	require.Equal(t, changed.Version, same.Version, "what was refused changed nothing")
}

func TestArchivedEnvironmentTakesNoLeases(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	archived, err := tn.operator.ArchiveEnvironment(t.Context(), tn.env.ID, wire.RetireEnvironment{})
	require.NoError(t, err)
	require.Equal(t, "archived", archived.Status)
	_, _, err = tn.client.AcquireLease(t.Context(), tn.company, tn.ask("run"))
	require.True(t, client.IsCode(err, "unsatisfiable"), "%v", err)
	list, err := tn.client.Environments(t.Context(), tn.company, client.MinPosition(archived.Position))
	require.NoError(t, err)
	require.Equal(t, "archived", list.Items[0].Status)
}

func TestBadEnvironmentIsRefusedWithTheFieldAndMakesNothing(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	path := "/api/v1/companies/" + tn.company.String() + "/environments"
	before := s.head()
	for body, want := range map[string]struct{ code, field string }{
		`{"driver":"local"}`:           {"missing_field", "name"},
		`{"name":"x"}`:                 {"missing_field", "driver"},
		`{"name":"x","driver":"moon"}`: {"unknown_driver", "driver"},
		`{"name":"x","driver":"local","config":{"shell":"zsh"}}`:             {"invalid_config", "config.shell"},
		`{"name":"x","driver":"local","config":[]}`:                          {"invalid_json", "config"},
		`{"name":"x","driver":"local","color":"red"}`:                        {"unknown_field", "color"},
		`{"name":"x","driver":"local","Name":"y"}`:                           {"unknown_field", "Name"},
		`{"name":"x","name":"y","driver":"local"}`:                           {"duplicate_field", "name"},
		`{"name":7,"driver":"local"}`:                                        {"wrong_type", "name"},
		`{"name":"x","driver":"local","maxLeases":1.5}`:                      {"wrong_type", "maxLeases"},
		`{"name":"x","driver":"local","maxLeases":-1}`:                       {"invalid_capacity", "maxLeases"},
		`{"name":"x","driver":"local","envVars":{"A":null}}`:                 {"wrong_type", "envVars"},
		`{"name":"x","driver":"local","envVars":{"":"v"}}`:                   {"invalid_env_name", "envVars."},
		`{"name":"a\u0000b","driver":"local"}`:                               {"invalid_text", "name"},
		`{"name":"a\ud83d","driver":"local"}`:                                {"invalid_text", "name"},
		`{"name":"a\udc00\ud83d","driver":"local"}`:                          {"invalid_text", "name"},
		"{\"name\":\"a\xff\",\"driver\":\"local\"}":                          {"invalid_text", "name"},
		`{"name":"x","driver":"local","metadata":{"label":"\u0000"}}`:        {"invalid_text", "metadata"},
		`{"name":"x","driver":"local","metadata":{"label":"\ud83d and on"}}`: {"invalid_text", "metadata"},
		`[]`:       {"invalid_json", ""},
		`{"name":`: {"invalid_json", ""},
		`{} {}`:    {"invalid_json", ""},
		``:         {"body_missing", ""},
	} {
		p := s.problem(s.adminKey, "POST", path, body)
		require.Equal(t, 400, p.Status, body)
		require.Equal(t, want.code, p.Code, body)
		require.Equal(t, want.field, p.Field, body)
	}
	require.Equal(t, before, s.head(), "nothing half-made stays")

	// Six characters are not a NUL, and a pair of surrogates is a character.
	env, err := tn.operator.AddEnvironment(t.Context(), tn.company, wire.AddEnvironment{Name: `literal \u0000 😀`, Driver: "local"})
	require.NoError(t, err)
	require.Equal(t, `literal \u0000 😀`, env.Name)
}
