package cli_test

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
)

// install installs what lies anywhere but under /broken; the answer to the call itself is "not yet".
func (f *fake) install(r *http.Request) (int, any) {
	in := decode[wire.InstallPlugin](r)
	f.change()
	i := &wire.PluginInstall{ID: f.newID(), Status: wire.InstallRequested, Source: in.Source, CreatedAt: f.now}
	f.installs = append(f.installs, i)
	return http.StatusAccepted, *i
}

func (f *fake) getInstall(r *http.Request) (int, any) {
	i := find(f.installs, r, func(i *wire.PluginInstall) uuid.UUID { return i.ID })
	if i == nil {
		return notFound("plugin_install")
	}
	if strings.HasPrefix(i.Source, "/broken") {
		code, message, mend := "manifest_invalid", "version: is missing", "give it one"
		i.Status, i.Code, i.Message, i.Remediation = wire.InstallFailed, &code, &message, &mend
		return http.StatusOK, i
	}
	f.change()
	version := "1.0.0"
	p := &wire.Plugin{
		ID: f.newID(), Key: "acme.boxes", Version: version, Status: "enabled", CreatedAt: f.now, UpdatedAt: f.now, Revision: 1,
		Manifest: json.RawMessage(`{"environmentDrivers":[{"driverKey":"box"},{"driverKey":"vm"}]}`),
		Versions: []wire.PluginVersion{{Version: version}}, Process: &wire.PluginProcess{State: "stopped"},
	}
	f.plugins = append(f.plugins, p)
	i.Status, i.PluginID, i.Version = wire.InstallDone, &p.ID, &version
	return http.StatusOK, i
}

func (f *fake) listPlugins(*http.Request) (int, any) { return list(values(f.plugins)) }

func (f *fake) getPlugin(r *http.Request) (int, any) {
	if p := find(f.plugins, r, func(p *wire.Plugin) uuid.UUID { return p.ID }); p != nil {
		return http.StatusOK, p
	}
	return notFound("plugin")
}

func (f *fake) setPlugin(r *http.Request) (int, any) {
	p := find(f.plugins, r, func(p *wire.Plugin) uuid.UUID { return p.ID })
	if p == nil {
		return notFound("plugin")
	}
	p.Status, p.Reason = r.PathValue("verb")+"d", nil
	if in := decode[wire.DisablePlugin](r); in.Reason != "" {
		p.Reason = &in.Reason
	}
	return http.StatusOK, p
}

// probe works for saved environments, and fails for unsaved ones. It is answered when it is asked for again.
func (f *fake) probe(r *http.Request) (int, any) {
	f.change()
	p := &wire.Probe{ID: f.newID(), Driver: "local", Provider: "local", Status: wire.ProbeRunning, CreatedAt: f.now, Version: 1}
	if id, err := uuid.Parse(r.PathValue("id")); err == nil && !strings.Contains(r.URL.Path, "/companies/") {
		p.EnvironmentID = &id
	}
	f.probes = append(f.probes, p)
	return http.StatusAccepted, *p
}

func (f *fake) getProbe(r *http.Request) (int, any) {
	p := find(f.probes, r, func(p *wire.Probe) uuid.UUID { return p.ID })
	if p == nil {
		return notFound("probe")
	}
	p.Status, p.Result = wire.ProbeCompleted, &wire.ProbeResult{OK: true, Summary: "a command runs", DriverMs: 12, Diagnostics: []wire.Diagnostic{}}
	if p.EnvironmentID == nil {
		phase, mend := "auth", "add the key"
		p.Result = &wire.ProbeResult{Phase: &phase, Summary: "failed at auth", Diagnostics: []wire.Diagnostic{
			{Severity: "error", Message: "no key fits", Remediation: &mend},
		}}
	}
	return http.StatusOK, p
}

// deleteEnv is done at the second call.
func (f *fake) deleteEnv(r *http.Request) (int, any) {
	e := find(f.envs, r, func(e *wire.Environment) uuid.UUID { return e.ID })
	switch {
	case e == nil:
		return notFound("environment")
	case r.URL.Query().Get("force") == "" && e.Status == "active":
		return http.StatusConflict, wire.Problem{
			Title: "Conflict", Status: http.StatusConflict, Code: "environment_in_use", Detail: "1 leases stand in the way", Remediation: "release them first",
			Blockers: []wire.Blocker{{Kind: "lease", ID: "lease-1", Status: "active"}}, RequestID: "7f000001-0000-4000-8000-000000000000",
		}
	case e.Status == "active":
		e.Status = "deleting"
		return http.StatusAccepted, e
	}
	e.Status = "deleted"
	return http.StatusOK, e
}
