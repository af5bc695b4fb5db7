package cli

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) pluginGroup() *cobra.Command {
	return r.group("plugin", "Plugins make runtimes, in processes of their own",
		[2]string{"tenure plugin list", "tenure plugin install /opt/plugins/acme"},
		r.pluginList(), r.pluginShow(), r.pluginInstall(), r.pluginEnable(), r.pluginDisable(), r.pluginTest())
}

var pluginView = view[wire.Plugin]{
	name: func(p wire.Plugin) string { return p.Key },
	columns: []column[wire.Plugin]{
		{title: "KEY", value: func(p wire.Plugin, _ cell) string { return p.Key }},
		{title: "VERSION", value: func(p wire.Plugin, _ cell) string { return p.Version }},
		{title: "STATUS", value: func(p wire.Plugin, _ cell) string { return p.Status }},
		{title: "OFFERS", value: func(p wire.Plugin, _ cell) string { return strings.Join(offers(p.Manifest), ",") }},
		{title: "PROCESS", value: func(p wire.Plugin, _ cell) string {
			if p.Process == nil {
				return ""
			}
			return p.Process.State
		}},
		{title: "CHANGED", value: func(p wire.Plugin, how cell) string { return how.time(p.UpdatedAt) }},
		{title: "ERROR", wide: true, value: func(p wire.Plugin, _ cell) string {
			if p.Process == nil || p.Process.Error == nil {
				return ""
			}
			return *p.Process.Error
		}},
		{title: "HEALTH", wide: true, value: func(p wire.Plugin, _ cell) string {
			if p.Process == nil {
				return ""
			}
			return text(p.Process.Health)
		}},
		{title: "RESTARTS", wide: true, value: func(p wire.Plugin, _ cell) string {
			if p.Process == nil {
				return ""
			}
			return number(p.Process.Restarts)
		}},
		{title: "REASON", wide: true, value: func(p wire.Plugin, _ cell) string {
			if p.Reason == nil {
				return ""
			}
			return *p.Reason
		}},
		{title: "ID", wide: true, value: func(p wire.Plugin, _ cell) string { return p.ID.String() }},
		{title: "VERSIONS", wide: true, value: func(p wire.Plugin, _ cell) string {
			names := make([]string, len(p.Versions))
			for i, v := range p.Versions {
				names[i] = v.Version
			}
			return strings.Join(names, ",")
		}},
	},
}

// offers are the providers and drivers that a manifest declares.
func offers(manifest json.RawMessage) []string {
	var declared struct {
		Drivers []struct {
			Key  string `json:"driverKey"`
			Kind string `json:"kind"`
		} `json:"environmentDrivers"`
	}
	if json.Unmarshal(manifest, &declared) != nil {
		return nil
	}
	var out []string
	for _, d := range declared.Drivers {
		out = append(out, d.Key)
	}
	return out
}

// plugin finds a plugin by its key or id.
func (r *root) plugin(ctx context.Context, c *client.Client, name string) (wire.Plugin, error) {
	plugins, err := all(ctx, c.Plugins)
	if err != nil {
		return wire.Plugin{}, err
	}
	return pick("plugin", name, plugins, func(p wire.Plugin) (uuid.UUID, string) { return p.ID, p.Key })
}

func (r *root) pluginList() *cobra.Command {
	return r.verb(verb{
		use:      "list",
		short:    "List the installed plugins",
		examples: [2]string{"tenure plugin list", "tenure plugin list -o wide"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, _ []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			plugins, err := all(ctx, c.Plugins)
			if err != nil {
				return err
			}
			return pluginView.list(r, plugins)
		},
	})
}

func (r *root) pluginShow() *cobra.Command {
	return r.verb(verb{
		use:      "show KEY-OR-ID",
		short:    "Show a plugin, how its process stands, and with -o json what its configurations look like",
		examples: [2]string{"tenure plugin show tenure.bubblewrap", "tenure plugin show tenure.docker -o json"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			p, err := r.plugin(ctx, c, args[0])
			if err != nil {
				return err
			}
			return pluginView.show(r, p)
		},
	})
}

func (r *root) pluginEnable() *cobra.Command {
	return r.verb(verb{
		use:      "enable KEY-OR-ID",
		short:    "Let a disabled plugin work again; what it made before is served, too",
		examples: [2]string{"tenure plugin enable acme.boxes", "tenure plugin enable acme.boxes -o json"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			return r.changePlugin(ctx, args[0], func(c *client.Client, id uuid.UUID) (wire.Plugin, error) { return c.EnablePlugin(ctx, id) })
		},
	})
}

func (r *root) pluginDisable() *cobra.Command {
	var in wire.DisablePlugin
	cmd := r.verb(verb{
		use:   "disable KEY-OR-ID",
		short: "Keep a plugin from working; what it made waits until it is enabled again",
		long: "Its process ends, and the commands that it runs end with it. Leases that it made stay as they are; one that is released\n" +
			"meanwhile waits for its cleanup until the plugin is enabled.",
		examples: [2]string{"tenure plugin disable acme.boxes --reason broken", "tenure plugin disable tenure.fake"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			return r.changePlugin(ctx, args[0], func(c *client.Client, id uuid.UUID) (wire.Plugin, error) { return c.DisablePlugin(ctx, id, in) })
		},
	})
	cmd.Flags().StringVar(&in.Reason, "reason", "", "why, as `text` for people")
	return cmd
}

// changePlugin finds a plugin, changes it and shows it.
func (r *root) changePlugin(ctx context.Context, name string, do func(*client.Client, uuid.UUID) (wire.Plugin, error)) error {
	c, err := r.api(ctx)
	if err != nil {
		return err
	}
	found, err := r.plugin(ctx, c, name)
	if err != nil {
		return err
	}
	p, err := do(c, found.ID)
	if err != nil {
		return err
	}
	visible(ctx, p.Position, c.Plugins)
	return pluginView.show(r, p)
}

// callWait is how long one call waits for what a worker does; the verb asks again until its own time is over.
const callWait = 20 * time.Second
