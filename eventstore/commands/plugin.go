package commands

import (
	"context"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/install"
	"github.com/tenure-dev/tenure/domain/plugin"
	"github.com/tenure-dev/tenure/eventstore"
)

// InstallPlugin makes a version of a plugin the current one. The one that is current already changes nothing.
func (c *Commands) InstallPlugin(ctx context.Context, by Caller, installed plugin.Installed) (eventstore.Outcome, error) {
	return c.onPlugin(ctx, by, plugin.IDOf(installed.Key), plugin.Install{Installed: installed})
}

// EnablePlugin lets a plugin work; doing so again changes nothing.
func (c *Commands) EnablePlugin(ctx context.Context, by Caller, id domain.PluginID) (eventstore.Outcome, error) {
	return c.onPlugin(ctx, by, id, plugin.Enable{})
}

// DisablePlugin keeps a plugin from working; doing so again changes nothing.
func (c *Commands) DisablePlugin(ctx context.Context, by Caller, id domain.PluginID, reason string) (eventstore.Outcome, error) {
	return c.onPlugin(ctx, by, id, plugin.Disable{Reason: reason})
}

func (c *Commands) onPlugin(ctx context.Context, by Caller, id domain.PluginID, cmd plugin.Command) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		_, err := eventstore.Act(ctx, w, Plugins, id.UUID, cmd)
		return err
	})
}

// RequestInstall asks the engine of a node to install the plugin that lies there.
func (c *Commands) RequestInstall(ctx context.Context, by Caller, id domain.InstallID, wish install.Requested) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		_, err := eventstore.Begin(ctx, w, Installs, id.UUID, install.Command(install.Request{Requested: wish}))
		return err
	})
}

// FinishInstall records that a plugin is installed, and with it what became of the wish.
func (c *Commands) FinishInstall(ctx context.Context, by Caller, id domain.InstallID, installed plugin.Installed) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		plug := plugin.IDOf(installed.Key)
		if _, err := eventstore.Act(ctx, w, Plugins, plug.UUID, plugin.Command(plugin.Install{Installed: installed})); err != nil {
			return err
		}
		_, err := eventstore.Act(ctx, w, Installs, id.UUID, install.Command(install.Complete{
			Completed: install.Completed{Plugin: plug, Version: installed.Version},
		}))
		return err
	})
}

// FailInstall records why a plugin is not installed.
func (c *Commands) FailInstall(ctx context.Context, by Caller, id domain.InstallID, failed install.Failed) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		_, err := eventstore.Act(ctx, w, Installs, id.UUID, install.Command(install.Fail{Failed: failed}))
		return err
	})
}

// KnownInstall returns a wish to install as far as this process knows; see [eventstore.Recall].
func (c *Commands) KnownInstall(ctx context.Context, id domain.InstallID) (install.State, error) {
	i, err := eventstore.Recall(ctx, c.ledger, Installs, id.UUID)
	return i.State, err
}
