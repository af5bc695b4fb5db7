package apitest_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api"
	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
)

const soon = time.Minute

// processes has one plugin's process, which rests.
type processes struct{}

func (processes) PluginProcess(domain.PluginID) (api.PluginProcess, bool) {
	return api.PluginProcess{State: "resting", Restarts: 2, Health: "degraded: slow", Error: "it ended", RetryAt: time.Unix(1_800_000_000, 0)}, true
}

func TestAPluginIsInstalledUpgradedDisabledAndEnabled(t *testing.T) {
	t.Parallel()
	s := start(t, func(d *api.Deps) { d.Plugins = processes{} })
	done, err := s.admin.InstallPlugin(t.Context(), wire.InstallPlugin{Source: "/opt/acme/1.0"}, client.Wait(soon))
	require.NoError(t, err)
	require.Equal(t, wire.InstallDone, done.Status)
	require.Equal(t, "1.0", *done.Version)
	again, err := s.admin.PluginInstall(t.Context(), done.ID)
	require.NoError(t, err)
	require.Equal(t, done.PluginID, again.PluginID)

	p, err := s.admin.Plugin(t.Context(), *done.PluginID)
	require.NoError(t, err)
	require.Equal(t, "acme.boxes", p.Key)
	require.Equal(t, "enabled", p.Status)
	require.JSONEq(t, `{"id":"acme.boxes"}`, string(p.Manifest))
	require.Equal(t, "resting", p.Process.State)
	require.Equal(t, "it ended", *p.Process.Error)
	require.Equal(t, "degraded: slow", *p.Process.Health)

	up, err := s.admin.InstallPlugin(t.Context(), wire.InstallPlugin{Source: "/opt/acme/1.1"}, client.Wait(soon))
	require.NoError(t, err)
	require.Equal(t, p.ID, *up.PluginID, "one key is one plugin")
	p, err = s.admin.DisablePlugin(t.Context(), p.ID, wire.DisablePlugin{Reason: "broken"})
	require.NoError(t, err)
	require.Equal(t, "disabled", p.Status)
	require.Equal(t, "broken", *p.Reason)
	require.Equal(t, "1.1", p.Version)
	require.Len(t, p.Versions, 2)
	p, err = s.admin.EnablePlugin(t.Context(), p.ID)
	require.NoError(t, err)
	require.Equal(t, "enabled", p.Status)
	require.Nil(t, p.Reason)

	// Whoever may see a company may see what could make its runtimes, and not decide on it.
	tn := s.tenant("acme")
	list, err := tn.operator.Plugins(t.Context(), client.MinPosition(p.Position))
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
	require.Equal(t, p.Key, list.Items[0].Key)
	require.Equal(t, "resting", list.Items[0].Process.State)
	require.Nil(t, list.Items[0].Process.Health)
	require.Nil(t, list.Items[0].Process.Error, "the process serves every company, and what it prints may be of another")
	one, err := tn.operator.Plugin(t.Context(), p.ID)
	require.NoError(t, err)
	require.Nil(t, one.Process.Error)
	for _, role := range access.Roles() {
		key := s.addKey(role, tn.company)
		refused := s.problem(key, http.MethodPost, "/api/v1/plugins", `{"source":"/opt/acme/1.2"}`)
		require.Equal(t, http.StatusForbidden, refused.Status, role)
	}
}

func TestAPluginThatCannotBeInstalledSaysWhy(t *testing.T) {
	t.Parallel()
	s := start(t)
	failed, err := s.admin.InstallPlugin(t.Context(), wire.InstallPlugin{Source: "/broken/1"}, client.Wait(soon))
	require.NoError(t, err)
	require.Equal(t, wire.InstallFailed, failed.Status)
	require.Equal(t, "manifest_invalid", *failed.Code)
	require.Equal(t, "give it one", *failed.Remediation)
	require.Nil(t, failed.PluginID)

	refused := s.problem(s.adminKey, http.MethodPost, "/api/v1/plugins", `{"source":"acme"}`)
	require.Equal(t, "invalid_path", refused.Code)
	require.Equal(t, "source", refused.Field)
	unknown := s.problem(s.adminKey, http.MethodPost, "/api/v1/plugins/"+uuid.NewString()+"/enable", "")
	require.Equal(t, "plugin_not_found", unknown.Code)
	bad := s.problem(s.adminKey, http.MethodGet, "/api/v1/plugins?status=on", "")
	require.Equal(t, "status", bad.Field)
}

func TestAProbeIsAskedByAWorkerAndAnswersInTheLog(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	p, err := tn.operator.ProbeEnvironment(t.Context(), tn.env.ID, client.Wait(soon))
	require.NoError(t, err)
	require.Equal(t, wire.ProbeCompleted, p.Status)
	require.True(t, p.Result.OK)
	require.Equal(t, tn.env.ID, *p.EnvironmentID)
	require.EqualValues(t, 3, p.Result.DriverMs)
	require.Nil(t, p.Result.Phase)

	failed, err := tn.operator.ProbeSettings(t.Context(), tn.company, wire.ProbeSettings{Driver: "local", Config: json.RawMessage(`{"path":["/locked"]}`)}, client.Wait(soon))
	require.NoError(t, err)
	require.False(t, failed.Result.OK)
	require.Equal(t, "auth", *failed.Result.Phase)
	require.Equal(t, "add the key", *failed.Result.Diagnostics[0].Remediation)
	require.Nil(t, failed.EnvironmentID)
	again, err := tn.client.Probe(t.Context(), failed.ID)
	require.NoError(t, err)
	require.Equal(t, failed.Result, again.Result)

	refused := s.problem(s.addKey(access.RoleOperator, tn.company), http.MethodPost, "/api/v1/companies/"+tn.company.String()+"/environments/probe", `{"driver":"moon"}`)
	require.Equal(t, "unknown_driver", refused.Code)
	_, err = tn.operator.ArchiveEnvironment(t.Context(), tn.env.ID, wire.RetireEnvironment{})
	require.NoError(t, err)
	gone := s.problem(s.addKey(access.RoleOperator, tn.company), http.MethodPost, "/api/v1/environments/"+tn.env.ID.String()+"/probe", "")
	require.Equal(t, "environment_archived", gone.Code)
}
