package cli

import (
	"context"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) pluginInstall() *cobra.Command {
	var node string
	cmd := r.verb(verb{
		use:   "install DIRECTORY",
		short: "Install a plugin, or another version of one, from a directory of the server's machine",
		long: "The server looks at the plugin's manifest and copies its files. A plugin that is new is enabled; leases that an earlier\n" +
			"version made are driven by that version to their end. A version that is installed again with other files is refused.",
		examples: [2]string{"tenure plugin install /opt/plugins/acme", "tenure plugin install ./node_modules/paperclip-plugin-acme -o json"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			source, err := filepath.Abs(args[0])
			if err != nil {
				return usagef("DIRECTORY: %s", err)
			}
			in := wire.InstallPlugin{Source: source}
			if node != "" {
				id, err := uuid.Parse(node)
				if err != nil {
					return usagef("--node: %q is not an id", node).mendBy("give one of: tenure node list")
				}
				in.NodeID = &id
			}
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			done, err := c.InstallPlugin(ctx, in, client.Wait(callWait))
			for err == nil && done.Status == wire.InstallRequested {
				done, err = c.PluginInstall(ctx, done.ID, client.Wait(callWait))
			}
			if err != nil {
				return err
			}
			if done.Status == wire.InstallFailed {
				return &plainError{exitFailed, deref(done.Code), deref(done.Message), deref(done.Remediation)}
			}
			p, err := c.Plugin(ctx, *done.PluginID)
			if err != nil {
				return err
			}
			visible(ctx, max(p.Position, done.Position), c.Plugins)
			return pluginView.show(r, p)
		},
	})
	cmd.Flags().StringVar(&node, "node", "", "`id` of the machine that has the directory (default: the server's, or the only one with a worker)")
	return cmd
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
