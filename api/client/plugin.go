package client

import (
	"context"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
)

// Plugins lists the installed plugins.
func (c *Client) Plugins(ctx context.Context, opts ...CallOption) (wire.List[wire.Plugin], error) {
	return get[wire.List[wire.Plugin]](ctx, c, v1+"/plugins", opts)
}

// Plugin returns a plugin as it is in the log now.
func (c *Client) Plugin(ctx context.Context, id uuid.UUID, opts ...CallOption) (wire.Plugin, error) {
	return get[wire.Plugin](ctx, c, v1+"/plugins/"+id.String(), opts)
}

// InstallPlugin asks to install a plugin, or another version of one, from a directory of the server's machine. With [Wait] the
// answer comes when it is done or failed.
func (c *Client) InstallPlugin(ctx context.Context, in wire.InstallPlugin, opts ...CallOption) (wire.PluginInstall, error) {
	return post[wire.PluginInstall](ctx, c, v1+"/plugins", in, opts)
}

// PluginInstall returns what became of a wish to install.
func (c *Client) PluginInstall(ctx context.Context, id uuid.UUID, opts ...CallOption) (wire.PluginInstall, error) {
	return get[wire.PluginInstall](ctx, c, v1+"/plugin-installs/"+id.String(), opts)
}

// EnablePlugin lets a plugin make runtimes, and serve those that it made before. Doing so again changes nothing.
func (c *Client) EnablePlugin(ctx context.Context, id uuid.UUID, opts ...CallOption) (wire.Plugin, error) {
	return post[wire.Plugin](ctx, c, v1+"/plugins/"+id.String()+"/enable", nil, opts)
}

// DisablePlugin ends a plugin's process; what it made waits until it is enabled again. Doing so again changes nothing.
func (c *Client) DisablePlugin(ctx context.Context, id uuid.UUID, in wire.DisablePlugin, opts ...CallOption) (wire.Plugin, error) {
	return post[wire.Plugin](ctx, c, v1+"/plugins/"+id.String()+"/disable", in, opts)
}
