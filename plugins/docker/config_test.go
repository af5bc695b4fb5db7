package docker_test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/docker"
)

const everyField = `{"image": "debian:12", "pullPolicy": "never", "registryUsername": "u", "registryPassword": "p", "memoryMb": 64,
	"cpus": 0.5, "pids": 64, "network": "bridge", "user": "1000:1000", "readOnlyRoot": true, "host": "unix:///run/docker.sock",
	"timeoutMs": 1000, "pullTimeoutMs": 3600000}`

func localDriver(t *testing.T) *docker.Driver {
	t.Helper()
	d, err := docker.New(docker.Options{Inner: "/bin/sh"})
	require.NoError(t, err)
	return d
}

func TestEveryFieldAtFaultIsNamed(t *testing.T) {
	t.Parallel()
	d := localDriver(t)
	for _, good := range []string{
		everyField, `{"image": "debian"}`, `{"image": "localhost:5000/a/b@sha256:` + string(slices.Repeat([]byte("0"), 64)) + `"}`,
		`{"image": "x", "registryUsername": "u", "registryPassword": {"type": "secret_ref", "secretId": "s", "version": "latest"}}`,
		`{"image": "x", "host": "tcp://127.0.0.1:2375"}`, `{"image": "x", "host": "tcp://[::1]:2375"}`,
	} {
		require.NoError(t, d.CheckConfig(json.RawMessage(good)), good)
	}
	for bad, fields := range map[string][]string{
		``: {"config.image"}, `{}`: {"config.image"}, `[]`: {"config"}, `null`: {"config"}, `{"image": ""}`: {"config.image"},
		`{"image": "UPPER"}`: {"config.image"}, `{"image": "a b"}`: {"config.image"}, `{"image": null}`: {"config.image"},
		`{"image": "x", "privileged": true, "binds": []}`:                          {"config.binds", "config.privileged"},
		`{"image": "x", "network": "host", "pullPolicy": "often"}`:                 {"config.network", "config.pullPolicy"},
		`{"image": "x", "memoryMb": 63, "pids": 1.5, "cpus": 0}`:                   {"config.cpus", "config.memoryMb", "config.pids"},
		`{"image": "x", "memoryMb": null, "cpus": "1"}`:                            {"config.cpus", "config.memoryMb"},
		`{"image": "x", "timeoutMs": 999, "pullTimeoutMs": 3600001}`:               {"config.pullTimeoutMs", "config.timeoutMs"},
		`{"image": "x", "registryUsername": "u"}`:                                  {"config.registryPassword"},
		`{"image": "x", "registryPassword": "p"}`:                                  {"config.registryUsername"},
		`{"image": "x", "registryUsername": "u", "registryPassword": {"type": 1}}`: {"config.registryPassword"},
		`{"image": "x", "user": "a b", "readOnlyRoot": null}`:                      {"config.readOnlyRoot", "config.user"},
		`{"image": "x", "user": ":1"}`:                                             {"config.user"},
		`{"image": "x", "host": "unix://relative"}`:                                {"config.host"},
		`{"image": "x", "host": "ssh://somewhere"}`:                                {"config.host"},
		`{"image": "x", "host": "tcp://10.0.0.1:2375"}`:                            {"config.host"},
		`{"image": "x", "host": "tcp://user:pw@127.0.0.1:2375"}`:                   {"config.host"},
		`{"image": "x", "host": "tcp://127.0.0.1"}`:                                {"config.host"},
	} {
		problem := &drivers.ConfigError{}
		require.ErrorAs(t, d.CheckConfig(json.RawMessage(bad)), &problem, bad)
		var named []string
		for _, p := range problem.Problems {
			named = append(named, p.Field)
			require.NotEmpty(t, p.Problem)
			require.NotEmpty(t, p.Remediation)
		}
		require.Equal(t, fields, named, bad)
	}
}

func TestASecretIsNotInTheWordsAboutIt(t *testing.T) {
	t.Parallel()
	err := localDriver(t).CheckConfig(json.RawMessage(`{"image": "x", "registryUsername": "u", "registryPassword": ["hunter2"]}`))
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestTheSchemaKnowsTheSameFields(t *testing.T) {
	t.Parallel()
	var schema struct {
		Required   []string                   `json:"required"`
		Additional bool                       `json:"additionalProperties"`
		Properties map[string]json.RawMessage `json:"properties"`
	}
	require.NoError(t, json.Unmarshal(docker.Schema, &schema))
	var given map[string]any
	require.NoError(t, json.Unmarshal([]byte(everyField), &given))
	require.Equal(t, slices.Sorted(maps.Keys(given)), slices.Sorted(maps.Keys(schema.Properties)))
	require.Equal(t, []string{"image"}, schema.Required)
	require.False(t, schema.Additional)
	require.Contains(t, string(schema.Properties["registryPassword"]), `"secret-ref"`)
}

func TestThePasswordIsTheOnlySecret(t *testing.T) {
	t.Parallel()
	d := localDriver(t)
	require.Equal(t, []drivers.SecretField{{Value: "/registryPassword", Ref: "/registryPassword"}}, drivers.SecretFields(d, json.RawMessage(everyField)))
	require.Empty(t, drivers.SecretFields(d, json.RawMessage(`{"image": "x"}`)))
	require.Empty(t, drivers.SecretFields(d, json.RawMessage(`[]`)))
}

func TestOptionsThatCannotWorkAreNamed(t *testing.T) {
	t.Parallel()
	_, err := docker.New(docker.Options{Host: "tcp://10.0.0.1:2375", Inner: "relative"})
	require.ErrorContains(t, err, "Host")
	require.ErrorContains(t, err, "TLS")
	require.ErrorContains(t, err, "Inner")
	_, err = docker.New(docker.Options{Inner: "/no/such/program"})
	require.ErrorContains(t, err, "Inner")
	_, err = docker.New(docker.Options{Inner: "/"})
	require.ErrorContains(t, err, "regular file")
	d, err := docker.New(docker.Options{Host: "tcp://10.0.0.1:2376", CertDir: "/certs", Inner: "/bin/sh"})
	require.NoError(t, err)
	require.False(t, d.Describe().NodeBound)
	require.Error(t, d.CheckConfig(json.RawMessage(`{"image": "x", "host": "unix:///run/docker.sock"}`)), "its runtimes are not bound to a machine")
	require.True(t, localDriver(t).Describe().NodeBound)
}

func TestAnIDThatIsNoNameIsRefused(t *testing.T) {
	t.Parallel()
	d := localDriver(t)
	for _, id := range []string{"", "a/b", "a b", "é", string(make([]byte, 200))} {
		_, err := d.Acquire(t.Context(), drivers.AcquireRequest{RuntimeID: id})
		require.Equal(t, drivers.OutcomeDefinite, drivers.OutcomeOf(err), "%q", id)
		require.Error(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: drivers.Handle{RuntimeID: id}}))
		_, err = d.StartExec(t.Context(), drivers.ExecRequest{Handle: drivers.Handle{RuntimeID: id}})
		require.Error(t, err)
	}
}
