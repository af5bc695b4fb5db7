package domain_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
)

const secretID = "a0000000-0000-4000-8000-000000000009"

func TestAReferenceIsReadStrictly(t *testing.T) {
	t.Parallel()
	want := domain.SecretRef{Secret: domain.SecretID{UUID: uuid.MustParse(secretID)}}
	for raw, version := range map[string]int{
		`{"type":"secret_ref","secretId":"` + secretID + `","version":"latest"}`: 0,
		`{"version":7,"secretId":"` + secretID + `","type":"secret_ref"}`:        7,
		`{"type":"secret_ref","secretId":"` + secretID + `"}`:                    0,
	} {
		var got domain.SecretRef
		require.NoError(t, json.Unmarshal([]byte(raw), &got), raw)
		want.Version = version
		require.Equal(t, want, got)
		again, err := json.Marshal(got)
		require.NoError(t, err)
		var back domain.SecretRef
		require.NoError(t, json.Unmarshal(again, &back))
		require.Equal(t, got, back)
	}
	want.Version = 0
	raw, err := json.Marshal(want)
	require.NoError(t, err)
	require.JSONEq(t, `{"type":"secret_ref","secretId":"`+secretID+`","version":"latest"}`, string(raw))
	for _, bad := range []string{
		`null`, `{}`, `[]`, `"MARK"`, `{"type":"MARK","secretId":"` + secretID + `"}`, `{"secretId":"` + secretID + `"}`, `{"type":"secret_ref"}`,
		`{"type":"secret_ref","secretId":"MARK"}`, `{"type":"secret_ref","secretId":"00000000-0000-0000-0000-000000000000"}`,
		`{"type":"secret_ref","secretId":"` + secretID + `","version":"1"}`, `{"type":"secret_ref","secretId":"` + secretID + `","version":0}`,
		`{"type":"secret_ref","secretId":"` + secretID + `","version":-1}`, `{"type":"secret_ref","secretId":"` + secretID + `","version":1.5}`,
		`{"type":"secret_ref","secretId":"` + secretID + `","version":99999999999}`,
		`{"type":"secret_ref","secretId":"` + secretID + `","value":"MARK"}`,
	} {
		var got domain.SecretRef
		err := got.UnmarshalJSON([]byte(bad))
		require.Error(t, err, bad)
		require.NotContains(t, err.Error(), "MARK")
		require.True(t, got.IsZero())
	}
}

func TestAVariableIsTextOrAReference(t *testing.T) {
	t.Parallel()
	ref := domain.SecretRef{Secret: domain.SecretID{UUID: uuid.MustParse(secretID)}, Version: 3}
	vars := map[string]domain.EnvValue{"A": {Plain: "1"}, "B": {}, "C": {Ref: ref}, "D": {Ref: ref}, "E": {Plain: `{"type":"secret_ref"}`}}
	raw, err := json.Marshal(vars)
	require.NoError(t, err)
	require.JSONEq(t, `{"A":"1","B":"","C":{"type":"secret_ref","secretId":"`+secretID+`","version":3},"D":{"type":"secret_ref","secretId":"`+secretID+
		`","version":3},"E":"{\"type\":\"secret_ref\"}"}`, string(raw))
	var back map[string]domain.EnvValue
	require.NoError(t, json.Unmarshal(raw, &back))
	require.Equal(t, vars, back)
	require.Equal(t, []domain.SecretRef{ref}, domain.EnvSecrets(vars), "each once")
	for _, bad := range []string{`{"A":null}`, `{"A":1}`, `{"A":[]}`, `{"A":{}}`, `{"A":{"type":"other"}}`} {
		var got map[string]domain.EnvValue
		require.Error(t, json.Unmarshal([]byte(bad), &got), bad)
	}
	refusedAs(t, domain.CheckEnvValues("envVars", map[string]domain.EnvValue{"A=": {Ref: ref}}), "invalid_env_name", "envVars.A=")
	require.NoError(t, domain.CheckEnvValues("envVars", vars))
}

func TestAWrongValueOfASecretIsRefusedAndNotShown(t *testing.T) {
	t.Parallel()
	require.NoError(t, domain.CheckSecretValue("value", "-----BEGIN KEY-----\nMARK\n"))
	require.NoError(t, domain.CheckSecretValue("value", strings.Repeat("x", domain.MaxSecret)))
	for value, code := range map[string]string{
		"": "missing_field", strings.Repeat("x", domain.MaxSecret+1): "secret_too_long", "MARK\x00": "invalid_text", "MARK\xff": "invalid_text",
	} {
		err := domain.CheckSecretValue("value", value)
		refusedAs(t, err, code, "value")
		require.NotContains(t, err.Error(), "MARK")
	}
}
