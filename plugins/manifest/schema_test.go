package manifest_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/plugins/manifest"
)

func schema(t *testing.T, text string) *manifest.Schema {
	t.Helper()
	s, problem := manifest.NewSchema(json.RawMessage(text))
	require.Nil(t, problem)
	return s
}

const boxSchema = `{
	"type": "object", "additionalProperties": false, "required": ["apiKey"],
	"properties": {
		"apiKey": {"type": "string", "format": "secret-ref", "minLength": 8, "pattern": "^key-"},
		"size": {"type": "integer", "minimum": 1, "maximum": 8}, "region": {"enum": ["eu", "us"]},
		"default": {"type": "string", "format": "secret-ref"},
		"registries": {"type": "array", "items": {"$ref": "#/$defs/registry"}},
		"more": {"type": "object", "additionalProperties": {"anyOf": [{"type": "integer"}, {"type": "string", "format": "secret-ref"}]}}
	},
	"$defs": {"registry": {"type": "object", "properties": {
		"host": {"type": "string"}, "pass/word~": {"type": "string", "format": "secret-ref"}, "next": {"$ref": "#/$defs/registry"}}}}
}`

// problems checks a configuration and returns what is wrong by field.
func problems(t *testing.T, s *manifest.Schema, config string) map[string]string {
	t.Helper()
	err := s.Check(json.RawMessage(config))
	found := make(map[string]string)
	if err == nil {
		return found
	}
	invalid, ok := errors.AsType[*drivers.ConfigError](err)
	require.True(t, ok)
	for _, p := range invalid.Problems {
		require.NotEmpty(t, p.Remediation, p.Field)
		found[p.Field] = p.Problem
	}
	return found
}

func TestAConfigurationIsJudgedByField(t *testing.T) {
	t.Parallel()
	s := schema(t, boxSchema)
	require.Empty(t, problems(t, s, `{"apiKey": "key-12345", "size": 2, "region": "eu", "registries": [{"host": "h"}]}`))
	require.Equal(t, map[string]string{
		"config.apiKey": "is missing", "config.region": "is none of the allowed values", "config.size": "is more than 8",
		"config.colour": "is unknown to the provider", `config["a b"]`: "is unknown to the provider",
		"config.registries[1].host": "is a number, not string",
	}, problems(t, s, `{"size": 9, "region": "mars", "colour": 1, "a b": 2, "registries": [{}, {"host": 3}]}`))
	require.Equal(t, map[string]string{"config.apiKey": "is missing"}, problems(t, s, ``))
	for _, text := range []string{`null`, `[]`, `{`, `"x"`} {
		require.Equal(t, map[string]string{"config": "is not a JSON object"}, problems(t, s, text))
	}
}

func TestASecretFieldTakesAValueOrAReferenceAndIsNeverQuoted(t *testing.T) {
	t.Parallel()
	s := schema(t, boxSchema)
	for _, good := range []string{
		`"key-12345"`, `{"type": "secret_ref", "secretId": "s"}`, `{"type": "secret_ref", "secretId": "s", "version": "latest"}`,
		`{"type": "secret_ref", "secretId": "s", "version": 3}`,
	} {
		require.Empty(t, problems(t, s, `{"apiKey": `+good+`}`), good)
	}
	for bad, want := range map[string]map[string]string{
		`"s3cret"`:                            {"config.apiKey": "does not match ^key-"},
		`123456789`:                           {"config.apiKey": "is a number, not string"},
		`["s3cret-val"]`:                      {"config.apiKey": "is a array, not string"},
		`{"type": "secret", "secretId": "s"}`: {"config.apiKey.type": "is not the one value that is allowed"},
		`{"type": "secret_ref"}`:              {"config.apiKey.secretId": "is missing"},
		`{"type": "secret_ref", "secretId": "s", "value": "s3cret"}`:      {"config.apiKey.value": "is unknown to the provider"},
		`{"type": "secret_ref", "secretId": "s", "version": "s3cret"}`:    {"config.apiKey.version": "has none of the forms that the provider takes, or several"},
		`{"type": "secret_ref", "secretId": "s", "version": 0}`:           {"config.apiKey.version": "has none of the forms that the provider takes, or several"},
		`{"type": "secret_ref", "secretId": "", "version": "latest"}`:     {"config.apiKey.secretId": "is shorter than 1 characters"},
		`{"type": "secret_ref", "secretId": ["s3cret"], "version": null}`: {"config.apiKey.secretId": "is a array, not string", "config.apiKey.version": "has none of the forms that the provider takes, or several"},
	} {
		got := problems(t, s, `{"apiKey": `+bad+`}`)
		for field, problem := range want {
			require.Contains(t, got[field], problem, bad)
		}
		err := s.Check(json.RawMessage(`{"apiKey": ` + bad + `}`))
		require.NotContains(t, err.Error(), "s3cret")
		require.NotContains(t, err.Error(), "123456789")
	}
	require.Empty(t, problems(t, s, `{"apiKey": "key-12345", "default": {"type": "secret_ref", "secretId": "s"}}`), "a field may be called like a keyword")
}

func TestSecretsAreFoundWhereverTheyAre(t *testing.T) {
	t.Parallel()
	s := schema(t, boxSchema)
	ref := `{"type": "secret_ref", "secretId": "s"}`
	fields := s.SecretFields(json.RawMessage(`{"apiKey": "key-1", "size": 1, "default": ` + ref + `, "more": {"n": 1, "k": "x"},
		"registries": [{"host": "h"}, {"pass/word~": "p", "next": {"next": {"pass/word~": ` + ref + `}}}]}`))
	places := make([]string, 0, len(fields))
	for _, f := range fields {
		require.Equal(t, f.Value, f.Ref)
		places = append(places, f.Value)
	}
	require.Equal(t, []string{
		"/apiKey", "/default", "/more/k", "/registries/1/next/next/pass~1word~0", "/registries/1/pass~1word~0",
	}, places)
	require.Empty(t, s.SecretFields(json.RawMessage(`{"size": 1}`)))
	require.Empty(t, s.SecretFields(json.RawMessage(`{`)))
}

func TestWhatIsForTheEngineIsNotForTheProvider(t *testing.T) {
	t.Parallel()
	config := json.RawMessage(`{"reuseLease": true, "size": 1}`)
	plain := manifest.Driver{Kind: provider.KindSandbox, Config: schema(t, `{"type": "object", "additionalProperties": false, "properties": {"size": {}}}`)}
	require.JSONEq(t, `{"size": 1}`, string(plain.ProviderConfig(config)))
	require.NoError(t, plain.CheckConfig(config))
	own := manifest.Driver{Kind: provider.KindSandbox, Config: schema(t, `{"type": "object", "properties": {"reuseLease": {"type": "string"}}}`)}
	require.JSONEq(t, `{"size": 1, "reuseLease": true}`, string(own.ProviderConfig(config)))
	require.Error(t, own.CheckConfig(config), "a field that the schema names is the provider's")
	driver := manifest.Driver{Kind: provider.KindDriver, Config: plain.Config}
	require.Error(t, driver.CheckConfig(config))
	require.JSONEq(t, `{}`, string(plain.ProviderConfig(nil)))
}

func TestASchemaReadsNoFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "schema.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"type": "object"}`), 0o600))
	_, problem := manifest.NewSchema(json.RawMessage(`{"$ref": "file://` + path + `"}`))
	require.NotNil(t, problem)
	require.Contains(t, problem.Problem, "cannot refer to other documents")
}
