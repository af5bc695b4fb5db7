// Package api is Tenure over HTTP.
//
//	request ─► route ─► who calls (auth) ─► whose is it (the log) ─► may they (access.Can) ─► handler ─► answer
//	                                                                    │
//	                       refusals and faults of every step ──► errors.go ──► problem+json
//
// Every write goes through eventstore/commands. A single thing is folded from its stream, so an answer never lags behind the
// log as of the call; the answer to a command is at least as new as what the command did. Lists come from the read models,
// which a client can ask to have reached a position (minPosition). What a client waits for, it waits for on the log: a waiter
// watches first and looks then, and no signal carries content.
//
// The table below is the whole of the API; openapi.yaml says the same to those who do not read Go, and a test compares them.
package api

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/tenure-dev/tenure/domain/access"
)

// route is one line of the table.
type route struct {
	method, path string
	// action is what access.Can decides on. The zero one is for routes that need no key.
	action access.Action
	// of finds whose the thing is that the path names; nil for what no company owns.
	of     owner
	handle handler
	// body bounds the request's body; 0 for the server's default.
	body int64
	// worker says that a process which serves no client has it too.
	worker bool
}

// handler answers a call that was let in.
type handler func(*call) error

func (s *Server) routes() []route {
	const get, post, patch, remove = http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete
	return []route{
		{method: get, path: "/api/health", handle: s.health, worker: true},
		{method: get, path: "/api/v1/openapi.yaml", handle: s.openAPI},

		{method: post, path: "/api/v1/companies", action: access.CompanyAdd, handle: s.addCompany},
		{method: get, path: "/api/v1/companies", action: access.CompanyList, handle: s.listCompanies},
		{method: patch, path: "/api/v1/companies/:companyId", action: access.CompanyChange, of: s.ofCompany, handle: s.patchCompany},

		{method: post, path: "/api/v1/companies/:companyId/keys", action: access.KeyAdd, of: s.ofCompany, handle: s.addKey},
		{method: get, path: "/api/v1/companies/:companyId/keys", action: access.KeyList, of: s.ofCompany, handle: s.listKeys},
		{method: post, path: "/api/v1/keys", action: access.KeyAdd, of: s.ofEveryone, handle: s.addKey},
		{method: get, path: "/api/v1/keys", action: access.KeyList, of: s.ofEveryone, handle: s.listKeys},
		{method: post, path: "/api/v1/keys/:keyId/revoke", action: access.KeyRevoke, of: s.ofKey, handle: s.revokeKey},

		{method: post, path: "/api/v1/companies/:companyId/environments", action: access.EnvironmentRegister, of: s.ofCompany, handle: s.addEnvironment},
		{method: get, path: "/api/v1/companies/:companyId/environments", action: access.EnvironmentList, of: s.ofCompany, handle: s.listEnvironments},
		{method: get, path: "/api/v1/environments/:environmentId", action: access.EnvironmentRead, of: s.ofEnvironment, handle: s.getEnvironment},
		{method: patch, path: "/api/v1/environments/:environmentId", action: access.EnvironmentChange, of: s.ofEnvironment, handle: s.patchEnvironment},
		{method: post, path: "/api/v1/environments/:environmentId/archive", action: access.EnvironmentArchive, of: s.ofEnvironment, handle: s.archiveEnvironment},
		{method: http.MethodDelete, path: "/api/v1/environments/:environmentId", action: access.EnvironmentDelete, of: s.ofEnvironment, handle: s.deleteEnvironment},
		{method: post, path: "/api/v1/environments/:environmentId/probe", action: access.EnvironmentProbe, of: s.ofEnvironment, handle: s.probeEnvironment},
		{method: post, path: "/api/v1/companies/:companyId/environments/probe", action: access.SettingsProbe, of: s.ofCompany, handle: s.probeSettings},
		{method: get, path: "/api/v1/probes/:probeId", action: access.ProbeRead, of: s.ofProbe, handle: s.getProbe},

		{method: post, path: "/api/v1/companies/:companyId/secrets", action: access.SecretAdd, of: s.ofCompany, handle: s.addSecret},
		{method: get, path: "/api/v1/companies/:companyId/secrets", action: access.SecretList, of: s.ofCompany, handle: s.listSecrets},
		{method: get, path: "/api/v1/secrets/:secretId", action: access.SecretSee, of: s.ofSecret, handle: s.getSecret},
		{method: remove, path: "/api/v1/secrets/:secretId", action: access.SecretDestroy, of: s.ofSecret, handle: s.destroySecret},
		{method: post, path: "/api/v1/secrets/:secretId/versions", action: access.SecretRotate, of: s.ofSecret, handle: s.addSecretVersion},
		{method: post, path: "/api/v1/secrets/:secretId/versions/:version/disable", action: access.SecretSwitch, of: s.ofSecret, handle: s.disableSecretVersion},
		{method: post, path: "/api/v1/secrets/:secretId/versions/:version/enable", action: access.SecretSwitch, of: s.ofSecret, handle: s.enableSecretVersion},
		{method: post, path: "/api/v1/secrets/:secretId/versions/:version/destroy", action: access.SecretDestroy, of: s.ofSecret, handle: s.destroySecretVersion},
		{method: get, path: "/api/v1/secrets/:secretId/reads", action: access.SecretReads, of: s.ofSecret, handle: s.listSecretReads},

		{method: post, path: "/api/v1/companies/:companyId/leases", action: access.LeaseAcquire, of: s.ofCompany, handle: s.acquireLease},
		{method: get, path: "/api/v1/companies/:companyId/leases", action: access.LeaseList, of: s.ofCompany, handle: s.listLeases},
		{method: get, path: "/api/v1/leases/:leaseId", action: access.LeaseRead, of: s.ofLease, handle: s.getLease},
		{method: post, path: "/api/v1/leases/:leaseId/release", action: access.LeaseRelease, of: s.ofLease, handle: s.releaseLease},
		{method: post, path: "/api/v1/leases/:leaseId/cancel", action: access.LeaseCancel, of: s.ofLease, handle: s.cancelLease},
		{method: post, path: "/api/v1/leases/:leaseId/renew", action: access.LeaseRenew, of: s.ofLease, handle: s.renewLease},
		{method: get, path: "/api/v1/leases/:leaseId/explain", action: access.LeaseRead, of: s.ofLease, handle: s.explainLease},
		{method: get, path: "/api/v1/environments/:environmentId/queue", action: access.EnvironmentRead, of: s.ofEnvironment, handle: s.listQueue},
		{method: get, path: "/api/v1/leases/:leaseId/events", action: access.LeaseRead, of: s.ofLease, handle: s.leaseEvents},
		{method: post, path: "/api/v1/leases/:leaseId/cleanup/retry", action: access.LeaseCleanup, of: s.ofLease, handle: s.retryCleanup},
		{method: post, path: "/api/v1/leases/:leaseId/cleanup/force", action: access.LeaseCleanup, of: s.ofLease, handle: s.forceCleanup},
		{method: get, path: "/api/v1/leaks", action: access.LeakList, handle: s.listLeaks},
		{method: post, path: "/api/v1/leaks/:leakId/clear", action: access.LeakClear, of: s.ofLeak, handle: s.clearLeak},
		{method: get, path: "/api/v1/balance", action: access.BalanceRead, handle: s.getBalance},
		{method: post, path: "/api/v1/companies/:companyId/runs/:heartbeatRunId/release", action: access.RunRelease, of: s.ofCompany, handle: s.releaseRun},

		{method: post, path: "/api/v1/leases/:leaseId/execs", action: access.ExecStart, of: s.ofLease, handle: s.startExec, body: s.deps.Limits.ExecBodyBytes},
		{method: get, path: "/api/v1/leases/:leaseId/execs", action: access.ExecList, of: s.ofLease, handle: s.listExecs},
		{method: get, path: "/api/v1/execs/:execId", action: access.ExecRead, of: s.ofExec, handle: s.getExec},
		{method: post, path: "/api/v1/execs/:execId/kill", action: access.ExecKill, of: s.ofExec, handle: s.killExec},
		{method: get, path: "/api/v1/execs/:execId/output", action: access.ExecRead, of: s.ofExec, handle: s.execOutput},

		{method: get, path: "/api/v1/plugins", action: access.PluginRead, handle: s.listPlugins},
		{method: post, path: "/api/v1/plugins", action: access.PluginManage, handle: s.installPlugin},
		{method: get, path: "/api/v1/plugins/:pluginId", action: access.PluginRead, of: s.ofPlugin, handle: s.getPlugin},
		{method: post, path: "/api/v1/plugins/:pluginId/enable", action: access.PluginManage, of: s.ofPlugin, handle: s.enablePlugin},
		{method: post, path: "/api/v1/plugins/:pluginId/disable", action: access.PluginManage, of: s.ofPlugin, handle: s.disablePlugin},
		{method: get, path: "/api/v1/plugin-installs/:installId", action: access.PluginManage, handle: s.getInstall},

		{method: get, path: "/api/v1/projections", action: access.ProjectionRead, handle: s.listProjections},
		{method: post, path: "/api/v1/projections/:name/rebuild", action: access.ProjectionRebuild, handle: s.rebuildProjection},
		{method: get, path: "/api/v1/projections/:name/parked", action: access.ProjectionRead, handle: s.listParked},
		{method: post, path: "/api/v1/projections/:name/parked/:stream/retry", action: access.ProjectionPark, handle: s.retryParked},
		{method: post, path: "/api/v1/projections/:name/parked/:stream/skip", action: access.ProjectionPark, handle: s.skipParked},

		{method: get, path: "/api/v1/log", action: access.LogShow, handle: s.showLog},
		{method: post, path: "/api/v1/log/adopt", action: access.LogAdopt, handle: s.adoptLog},
		{method: get, path: "/api/v1/events", action: access.LogRead, handle: s.listEvents},
		{method: get, path: "/api/v1/workers", action: access.WorkerRead, handle: s.listWorkers},
		{method: get, path: "/api/v1/nodes", action: access.NodeList, handle: s.listNodes},
		{method: post, path: "/api/v1/nodes/:nodeId/forget", action: access.NodeForget, handle: s.forgetNode},
		{method: get, path: "/api/v1/clock", action: access.ClockRead, handle: s.getClock},
		{method: post, path: "/api/v1/clock/confirm", action: access.ClockConfirm, handle: s.confirmClock},
		{method: get, path: "/metrics", action: s.metricsAction(), handle: s.showMetrics, worker: true},
	}
}

// Routes lists the table: method and path of each line.
func (s *Server) Routes() []string {
	var list []string
	for _, r := range s.routes() {
		list = append(list, r.method+" "+r.path)
	}
	return list
}

// Handler is the API as an HTTP handler.
func (s *Server) Handler() http.Handler { return s.echo }

func (s *Server) newEcho() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = s.answerError
	e.Use(s.begin)
	for _, r := range append(s.routes(), s.internalRoutes()...) {
		if !s.deps.WorkerOnly || r.worker {
			e.Add(r.method, r.path, s.serve(r))
		}
	}
	return e
}
