package apptest_test

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/ssh/sshtest"
	"github.com/tenure-dev/tenure/plugins/plugintest"
)

// but is a kind with another configuration; nil takes a field out.
func but(k apptest.Kind, change map[string]any) apptest.Kind {
	k.Config = maps.Clone(k.Config)
	for name, value := range change {
		if k.Config[name] = value; value == nil {
			delete(k.Config, name)
		}
	}
	return k
}

// probe asks for the settings as they are, and for them saved, and returns both answers.
func probe(t *testing.T, e *apptest.Engine, k apptest.Kind) ([]wire.ProbeResult, error) {
	t.Helper()
	e = e.In(t)
	company, err := e.Client.AddCompany(t.Context(), wire.AddCompany{Name: "acme"})
	require.NoError(t, err)
	add := k.Add(e)
	unsaved, err := e.Client.ProbeSettings(t.Context(), company.ID, wire.ProbeSettings{Driver: add.Driver, Config: add.Config}, client.Wait(waitLong))
	if err != nil {
		_, saving := e.Client.AddEnvironment(t.Context(), company.ID, add)
		require.Error(t, saving, "what cannot be probed cannot be saved")
		return nil, err
	}
	require.Equal(t, wire.ProbeCompleted, unsaved.Status)
	require.Nil(t, unsaved.EnvironmentID)
	env, err := e.Client.AddEnvironment(t.Context(), company.ID, add)
	require.NoError(t, err)
	saved, err := e.Client.ProbeEnvironment(t.Context(), env.ID, client.Wait(waitLong))
	require.NoError(t, err)
	require.Equal(t, wire.ProbeCompleted, saved.Status)
	require.Equal(t, env.ID, *saved.EnvironmentID)
	for _, p := range []wire.Probe{unsaved, saved} {
		require.Equal(t, k.Driver, p.Driver)
		require.Equal(t, k.Provider, p.Provider)
	}
	return []wire.ProbeResult{*unsaved.Result, *saved.Result}, nil
}

// verdict is what a probe is to say. Code is of its error; of what is refused already, Field is what it names.
type verdict struct{ phase, code, field string }

func TestProbesOfEveryDriverSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	npm := plugintest.NPMProvider(t)
	e := apptest.Start(t, apptest.OnServer(t), withNode(npm), apptest.WithArgs("--plugin-env", "tenure.docker=DOCKER_HOST=unix:///nonexistent/docker.sock"))
	server, other := sshtest.Start(t, sshtest.Options{}), sshtest.Start(t, sshtest.Options{})
	ssh, fake, bubblewrap, tmpdir := sshKindOf(t, e, server), fakeKind(t, e), bubblewrapKind(t, e), npmKind(t, e, npm)
	docker := apptest.Kind{Driver: "sandbox", Provider: "docker", Config: map[string]any{"provider": "docker", "image": "debian:13"}}
	strangeKey, _ := sshtest.NewKey(t)
	_, keyOfServer, _ := strings.Cut(server.KnownHosts(), " ")
	type fields = map[string]any
	for name, c := range map[string]struct {
		kind apptest.Kind
		want verdict
	}{
		"local":      {localKind(t, e), verdict{}},
		"ssh":        {ssh, verdict{}},
		"fake":       {fake, verdict{}},
		"bubblewrap": {bubblewrap, verdict{}},
		"npm":        {tmpdir, verdict{}},

		"ssh, another key":         {but(ssh, fields{"privateKey": strangeKey}), verdict{phase: "auth", code: "auth_failed"}},
		"ssh, a damaged key":       {but(ssh, fields{"privateKey": server.PrivateKey[:100]}), verdict{field: "config.privateKey"}},
		"ssh, another host key":    {but(ssh, fields{"port": other.Port, "knownHosts": "[127.0.0.1]:" + itoa(other.Port) + " " + keyOfServer}), verdict{phase: "host_key", code: "host_key_mismatch"}},
		"ssh, no host key":         {but(ssh, fields{"knownHosts": nil}), verdict{phase: "host_key", code: "host_key_unknown"}},
		"ssh, nobody listens":      {but(ssh, fields{"port": driverstest.ClosedPort(t)}), verdict{phase: "dial", code: "unreachable"}},
		"ssh, nobody speaks":       {but(ssh, fields{"port": otherPort(t, ""), "connectTimeoutMs": 1000}), verdict{phase: "banner", code: "no_ssh_banner"}},
		"ssh, no SSH":              {but(ssh, fields{"port": otherPort(t, "220 mail\r\n")}), verdict{phase: "banner", code: "no_ssh_banner"}},
		"ssh, a relative path":     {but(ssh, fields{"remoteWorkspacePath": "work"}), verdict{field: "config.remoteWorkspacePath"}},
		"ssh, an unknown field":    {but(ssh, fields{"colour": "red"}), verdict{field: "config.colour"}},
		"docker, no engine":        {docker, verdict{phase: "ping", code: "engine_unreachable"}},
		"docker, a wrong type":     {but(docker, fields{"memoryMb": "lots"}), verdict{field: "config.memoryMb"}},
		"bubblewrap, a wrong type": {but(bubblewrap, fields{"memoryMb": "lots"}), verdict{field: "config.memoryMb"}},
		"bubblewrap, no path":      {but(bubblewrap, fields{"readOnlyPaths": []string{"/nonexistent/a"}}), verdict{phase: "acquire", code: "bad_config"}},
		"npm, no directory":        {but(tmpdir, fields{"root": "/nonexistent"}), verdict{phase: "probe", code: "no_root"}},
		"npm, a relative path":     {but(tmpdir, fields{"root": "relative"}), verdict{field: "config.root"}},
		"fake, no room": {but(fake, fields{"script": []any{fields{"verb": "probe", "action": "fail", "code": "no_room", "step": "look"}}}),
			verdict{phase: "look", code: "no_room"}},
		"fake, a script of nonsense": {but(fake, fields{"script": []any{fields{"verb": "nap"}}}), verdict{phase: "check_config", code: "bad_config"}},
		"local, an unknown field":    {but(localKind(t, e), fields{"shell": "zsh"}), verdict{field: "config.shell"}},
		"no provider":                {apptest.Kind{Driver: "sandbox", Config: fields{}}, verdict{field: "config.provider"}},
		"an unknown provider":        {apptest.Kind{Driver: "sandbox", Config: fields{"provider": "nobody"}}, verdict{field: "config.provider"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := probe(t, e, c.kind)
			if c.want.field != "" {
				requireProblem(t, err, 400, name)
				problem, _ := errors.AsType[*client.Problem](err)
				require.Equal(t, c.want.field, problem.Field)
				return
			}
			require.NoError(t, err)
			for _, r := range got {
				c.want.check(t, r)
			}
			said, err := json.Marshal(got)
			require.NoError(t, err)
			require.NotContains(t, string(said), "PRIVATE KEY")
		})
	}
	t.Cleanup(func() {
		for _, k := range []apptest.Kind{localKind(t, e), ssh, fake, bubblewrap, tmpdir} {
			require.Empty(t, k.Left(), k.Provider)
		}
		require.NotContains(t, e.Log(), "PRIVATE KEY")
	})
}

func (v verdict) check(t *testing.T, got wire.ProbeResult) {
	t.Helper()
	require.NotEmpty(t, got.Summary)
	if v.phase == "" {
		require.True(t, got.OK, "%+v", got)
		require.Nil(t, got.Phase)
		return
	}
	require.False(t, got.OK)
	require.NotNil(t, got.Phase)
	require.Equal(t, v.phase, *got.Phase, "%+v", got)
	for _, d := range got.Diagnostics {
		if d.Severity == "error" {
			require.Equal(t, v.code, *d.Code)
			// The published SDK's diagnostics have none.
			require.True(t, d.Remediation != nil && *d.Remediation != "" || v.code == "no_root", "%+v", d)
			return
		}
	}
	t.Fatalf("no error among the diagnostics: %+v", got)
}
