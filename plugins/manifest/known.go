package manifest

// categories and capabilities are the closed lists of the published schema, 2026.916.1. A name that is not here would be
// granted by nobody, so a plugin that needs it cannot work.
var categories = []string{"connector", "workspace", "automation", "ui"}

var capabilities = []string{
	"access.invites.read", "access.invites.write", "access.members.read", "access.members.write",
	"activity.log.write", "activity.read", "agent.sessions.close", "agent.sessions.create", "agent.sessions.list",
	"agent.sessions.send", "agent.tools.register", "agents.invoke", "agents.managed", "agents.pause",
	"agents.read", "agents.resume", "api.routes.register", "approvals.read", "approvals.respond",
	"authorization.audit.read", "authorization.grants.read", "authorization.grants.write",
	"authorization.policies.read", "authorization.policies.write", "companies.read", "costs.read",
	"database.namespace.migrate", "database.namespace.read", "database.namespace.write",
	"environment.drivers.register", "events.emit", "events.subscribe", "execution.workspaces.read",
	"external.objects.detect", "external.objects.read", "external.objects.refresh", "external.objects.write",
	"goals.create", "goals.read", "goals.update", "http.outbound", "instance.settings.register",
	"issue.attachments.read", "issue.comments.create", "issue.comments.create_human_attributed",
	"issue.comments.read", "issue.documents.read", "issue.documents.write", "issue.interactions.create",
	"issue.interactions.read", "issue.interactions.respond", "issue.relations.read", "issue.relations.write",
	"issue.subtree.read", "issues.checkout", "issues.create", "issues.orchestration.read", "issues.read",
	"issues.update", "issues.wakeup", "jobs.schedule", "local.folders", "metrics.write", "plugin.state.read",
	"plugin.state.write", "project.workspaces.read", "projects.managed", "projects.read", "routines.managed",
	"secrets.read-ref", "skills.managed", "telemetry.track", "ui.action.register", "ui.commentAnnotation.register",
	"ui.dashboardWidget.register", "ui.detailTab.register", "ui.page.register", "ui.sidebar.register",
	"webhooks.receive",
}
