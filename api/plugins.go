package api

import (
	"net/http"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/install"
	"github.com/tenure-dev/tenure/domain/plugin"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/projections/plugins"
)

func (s *Server) listPlugins(c *call) error {
	opts, err := c.page(plugins.Model.Name, "key", "status")
	if err != nil {
		return err
	}
	f := plugins.Filter{Key: c.QueryParam("key"), Status: plugin.Status(c.QueryParam("status"))}
	switch f.Status {
	case plugin.StatusNone, plugin.StatusEnabled, plugin.StatusDisabled:
	default:
		return invalid("invalid_parameter", "status", "%q is no status of a plugin", clip(f.Status.String())).Mend("use enabled or disabled, or leave it out")
	}
	page, err := plugins.List(c.ctx(), s.deps.DB, f, opts)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, showPage(page, func(r plugins.Row) wire.Plugin {
		return c.showPlugin(r.Data.ID.UUID, loaded(r.Head, r.Data.State))
	}))
}

func (s *Server) getPlugin(c *call) error {
	return s.answerPlugin(c, eventstore.Outcome{})
}

func (s *Server) enablePlugin(c *call) error {
	if err := c.decode(&struct{}{}, true); err != nil {
		return err
	}
	return s.changePlugin(c, func(by commands.Caller, id domain.PluginID) (eventstore.Outcome, error) {
		return s.deps.Commands.EnablePlugin(c.ctx(), by, id)
	})
}

func (s *Server) disablePlugin(c *call) error {
	var in wire.DisablePlugin
	if err := c.decode(&in, true); err != nil {
		return err
	}
	return s.changePlugin(c, func(by commands.Caller, id domain.PluginID) (eventstore.Outcome, error) {
		return s.deps.Commands.DisablePlugin(c.ctx(), by, id, in.Reason)
	})
}

func (s *Server) changePlugin(c *call, change func(commands.Caller, domain.PluginID) (eventstore.Outcome, error)) error {
	by, err := c.caller(domain.CompanyID{}, c.id)
	if err != nil {
		return err
	}
	o, err := change(by, domain.PluginID{UUID: c.id})
	if o, err = c.done(by, o, err); err != nil {
		return err
	}
	return s.answerPlugin(c, o)
}

func (s *Server) answerPlugin(c *call, o eventstore.Outcome) error {
	now, err := look(c, commands.Plugins, c.id, o.Changed)
	if err != nil {
		return err
	}
	out := c.showPlugin(c.id, now)
	out.Position = max(o.Position, now.Position)
	return c.answerThing(http.StatusOK, now.Version, out)
}

// showPlugin shows a plugin to whoever calls. A plugin's process serves every company, and what it says of itself and of its end are its own
// words: a key of one company is not shown what may be about another.
func (c *call) showPlugin(id uuid.UUID, now eventstore.Loaded[plugin.State]) wire.Plugin {
	p := now.State
	out := wire.Plugin{
		ID: id, Key: p.Key, Version: p.Version, Status: p.Status.String(), Reason: textOrNull(p.Reason), Manifest: orObject(nil),
		CreatedAt: p.InstalledAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(), Revision: now.Version, Versions: make([]wire.PluginVersion, len(p.Versions)),
	}
	if current, ok := p.Current(); ok {
		out.Manifest = shownObject(current.Manifest)
	}
	for i, v := range p.Versions {
		out.Versions[i] = wire.PluginVersion{Version: v.Installed.Version, Digest: v.Installed.Digest, Source: v.Installed.Source, InstalledAt: v.At.UTC()}
	}
	if processes := c.server.deps.Plugins; processes != nil {
		if process, ok := processes.PluginProcess(domain.PluginID{UUID: id}); ok {
			if c.principal.Scoped() {
				process.Error, process.Health = "", ""
			}
			out.Process = &wire.PluginProcess{
				State: process.State, PID: process.PID, Restarts: process.Restarts, Health: textOrNull(process.Health), Error: textOrNull(process.Error), RetryAt: timeOrNull(process.RetryAt),
			}
		}
	}
	return out
}

func (s *Server) installPlugin(c *call) error {
	var in wire.InstallPlugin
	if err := c.decode(&in, false); err != nil {
		return err
	}
	id := newID()
	by, err := c.caller(domain.CompanyID{}, id)
	if err != nil {
		return err
	}
	node, err := s.installNode(c, in.NodeID)
	if err != nil {
		return err
	}
	o, err := s.deps.Commands.RequestInstall(c.ctx(), by, domain.InstallID{UUID: id}, install.Requested{Source: in.Source, Node: node})
	if o, err = c.done(by, o, err); err != nil {
		return err
	}
	c.id = made(o, id)
	c.Response().Header().Set("Location", "/api/v1/plugin-installs/"+c.id.String())
	return s.answerInstall(c, o, http.StatusCreated, http.StatusAccepted)
}

// installNode is the machine that a plugin is installed on.
func (s *Server) installNode(c *call, named *uuid.UUID) (domain.NodeID, error) {
	if named == nil && !s.deps.Node.IsZero() {
		return s.deps.Node, nil
	}
	list, err := s.deps.Processes.List(c.ctx())
	if err != nil {
		return domain.NodeID{}, err
	}
	var nodes []domain.NodeID
	for _, p := range list {
		if p.Drives() && (named == nil || p.Node.UUID == *named) {
			nodes = append(nodes, p.Node)
		}
	}
	switch {
	case len(nodes) == 1:
		return nodes[0], nil
	case named != nil:
		return domain.NodeID{}, invalid("unknown_node", "nodeId", "no worker of this node lives").Mend("see GET /api/v1/workers for those that do")
	}
	return domain.NodeID{}, invalid("missing_field", "nodeId", "is missing: this server drives nothing, and %d nodes do", len(nodes)).
		Mend("name the machine that has the directory; GET /api/v1/workers lists them")
}

func (s *Server) getInstall(c *call) error {
	if err := c.pathID("installId"); err != nil {
		return err
	}
	return s.answerInstall(c, eventstore.Outcome{}, http.StatusOK, http.StatusOK)
}

// answerInstall sends a wish to install once it has ended, with the status done, or as it is when the time is over.
func (s *Server) answerInstall(c *call, o eventstore.Outcome, done, yet int) error {
	wait, _, err := c.wait()
	if err != nil {
		return err
	}
	now, err := await(c, commands.Installs, c.id, o, wait, func(i install.State) bool { return i.Status != install.StatusRequested })
	if err != nil {
		return err
	}
	i := now.State
	out := wire.PluginInstall{
		ID: c.id, Status: i.Status.String(), Source: i.Request.Source, CreatedAt: i.RequestedAt.UTC(), Position: max(o.Position, now.Position),
		PluginID: idOrNull(i.Done.Plugin.UUID), Version: textOrNull(i.Done.Version),
		Code: textOrNull(i.Failure.Code), Message: textOrNull(i.Failure.Message), Remediation: textOrNull(i.Failure.Remediation),
	}
	status := yet
	if i.Status != install.StatusRequested {
		status = done
	}
	return c.answerThing(status, now.Version, out)
}
