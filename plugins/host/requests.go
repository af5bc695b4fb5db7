package host

import (
	"context"
	"encoding/json"

	"github.com/tenure-dev/tenure/plugins/protocol"
)

// invocation is a call for one company while it is in flight.
type invocation struct {
	company string
	// output receives the pieces of a command's output; nil where the call runs none.
	output *relay
}

// capabilityOf is what a plugin must declare for what it asks of a host. A method that is not here has no capability of its
// own.
var capabilityOf = map[string]string{ //nolint:gosec // names of methods and capabilities
	"secrets.resolve": "secrets.read-ref", "http.fetch": "http.outbound", "metrics.write": "metrics.write",
	"state.get": "plugin.state.read", "state.set": "plugin.state.write", "state.delete": "plugin.state.write",
	"events.subscribe": "events.subscribe", "events.emit": "events.emit", "activity.log": "activity.log.write",
	"telemetry.track": "telemetry.track", "span.record": "environment.drivers.register",
}

// request answers what a worker asks of the host: little. A provider gets its configuration with each call, its secrets in it;
// a plugin that wants to keep state, reach the network through us or know issues and agents is told that this is not here.
func (c *child) request(_ context.Context, req protocol.Request) (any, error) {
	if needed, ok := capabilityOf[req.Method]; ok && !c.plugin.installed.Manifest.Declares(needed) {
		return nil, protocol.Errorf(protocol.CodeCapabilityDenied, "%s needs the capability %s, which the manifest does not declare", req.Method, needed)
	}
	if err := c.scope(req); err != nil {
		return nil, err
	}
	switch req.Method {
	case protocol.NotifyLog:
		c.news.said(req.Params)
		return nil, nil
	case "config.get":
		return struct{}{}, nil // as at initialize; what is for an environment comes with its calls
	case "metrics.write", "telemetry.track", "span.record":
		return nil, nil // taken, and of no use here
	case "secrets.resolve":
		return nil, protocol.Errorf(protocol.CodeCapabilityDenied,
			"secrets of an environment are in the config of each call; this host resolves no others")
	default:
		return nil, protocol.MethodNotFound(req.Method)
	}
}

// scope refuses what is for another company than the call that it belongs to. What names no company has no scope.
func (c *child) scope(req protocol.Request) error {
	var p struct {
		CompanyID string `json:"companyId"`
	}
	if len(req.Params) > 0 {
		_ = json.Unmarshal(req.Params, &p) // a company that is no string names none that we know
	}
	if p.CompanyID == "" {
		return nil
	}
	c.mu.Lock()
	inv := c.invocations[req.InvocationID]
	c.mu.Unlock()
	switch {
	case inv == nil && req.InvocationID == "":
		return protocol.Errorf(protocol.CodeScopeDenied, "%s names a company but belongs to no call for one", req.Method)
	case inv == nil:
		return protocol.Errorf(protocol.CodeScopeDenied, "%s belongs to a call that has ended", req.Method)
	case inv.company != p.CompanyID:
		return protocol.Errorf(protocol.CodeScopeDenied, "%s names another company than the call that it belongs to", req.Method)
	}
	return nil
}

// notification takes what a worker tells. It runs on the connection's reader, so it hands everything on.
func (c *child) notification(n protocol.Notification) {
	switch n.Method {
	case protocol.NotifyLog:
		c.news.said(n.Params)
	case protocol.NotifyExecuteLog:
		if r := c.relayOf(n.InvocationID); r != nil {
			r.take(n.Params)
		}
	case protocol.NotifyExecOutput:
		var p protocol.ExecOutput
		if json.Unmarshal(n.Params, &p) == nil {
			if e := c.execution(p.ExecID); e != nil {
				e.output(p)
			}
		}
	case protocol.NotifyExecEnd:
		var p protocol.ExecEnd
		if json.Unmarshal(n.Params, &p) == nil {
			if e := c.execution(p.ExecID); e != nil {
				e.ended(p.Result)
			}
		}
	}
}

// relayOf finds whose output a piece is. Each goes by its own invocation, so two commands, of one company or two, never get
// into each other's way. A worker on an old SDK that names none is understood while it runs only one, unless a command whose
// end nobody waited for may still be writing.
func (c *child) relayOf(invocationID string) *relay {
	c.mu.Lock()
	defer c.mu.Unlock()
	if invocationID != "" {
		if inv := c.invocations[invocationID]; inv != nil {
			return inv.output
		}
		return nil
	}
	if c.orphans {
		return nil
	}
	var only *relay
	for _, inv := range c.invocations {
		if inv.output == nil {
			continue
		}
		if only != nil {
			return nil
		}
		only = inv.output
	}
	return only
}
