package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenure-dev/tenure/api"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/plugin"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/plugins/cgroup"
	"github.com/tenure-dev/tenure/plugins/host"
	"github.com/tenure-dev/tenure/plugins/manifest"
	"github.com/tenure-dev/tenure/projections/plugins"
)

// DefaultPluginUID is the user and group that workers of plugins run as when the engine is root, as [DefaultExecUID].
const DefaultPluginUID = 64718

// workerUser is whom workers run as; nil is the engine's own user.
func (a *App) workerUser() *host.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	uid := cmp.Or(a.opts.PluginUID, DefaultPluginUID)
	return &host.Credential{UID: uint32(uid), GID: uint32(uid)}
}

// pluginDir is where everything of plugins is. Workers of another user pass through it to what is theirs.
func (a *App) pluginDir() string { return filepath.Join(a.lock.Dir(), "plugins") }

// builtins are the plugins that come with this engine.
func (a *App) builtins() []builtin {
	return builtins(cmp.Or(a.opts.PluginSecretEnv[DockerPlugin][dockerHostVar], a.opts.PluginEnv[DockerPlugin][dockerHostVar]))
}

// makeHost makes the host of plugins. It knows none yet.
func (a *App) makeHost() error {
	if err := a.makePluginDir(); err != nil {
		return err
	}
	identity := a.store.Identity()
	var err error
	a.host, err = host.New(host.Options{
		Dir: filepath.Join(a.pluginDir(), "host"), Logger: a.log, Credential: a.workerUser(), HostVersion: a.opts.Version,
		InstanceID: identity.Installation.String(), Timeouts: host.Timeouts{Drain: a.opts.DrainTimeout},
		// The words of the published SDK for a server that asks for keys and is not told that strangers reach it.
		DeploymentMode: "authenticated", DeploymentExposure: "private",
	})
	if err != nil {
		return fmt.Errorf("plugins: %w", err)
	}
	a.onStop("plugins", a.host.Stop)
	return nil
}

// makePluginDir makes the directory of plugins, and removes what an installation left in it that was killed.
func (a *App) makePluginDir() error {
	if err := os.MkdirAll(a.pluginDir(), 0o711); err != nil {
		return fmt.Errorf("plugins: %w", err)
	}
	entries, err := os.ReadDir(a.filesDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("plugins: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), unfinished) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(a.filesDir(), e.Name())); err != nil {
			return fmt.Errorf("plugins: %w", err)
		}
	}
	return nil
}

// installBuiltins adds the plugins that come with this binary to the log, where they are not, or are of another build, and
// makes all plugins of the log known to the host.
func (a *App) installBuiltins(ctx context.Context) error {
	if !a.drives() {
		return a.refreshPlugins(ctx) // whoever drives says which ones there are
	}
	by := commands.Caller{By: eventstore.Attribution{Actor: domain.PrincipalID{UUID: a.process.ID.UUID}}}
	for _, b := range a.builtins() {
		installed, err := b.installed()
		if err != nil {
			return err
		}
		known, err := eventstore.Load(ctx, a.commands.Ledger(), commands.Plugins, plugin.IDOf(installed.Key).UUID)
		if err != nil {
			return err
		}
		if known.State.Version == installed.Version {
			continue
		}
		if _, err := a.commands.InstallPlugin(ctx, by, installed); err != nil {
			return fmt.Errorf("install plugin %s: %w", installed.Key, err)
		}
	}
	return a.refreshPlugins(ctx)
}

// refreshPlugins tells the host what is installed. The streams are read, not the read model, which may lag behind the event
// that this is called for.
func (a *App) refreshPlugins(ctx context.Context) error {
	a.pluginTurn.Lock()
	defer a.pluginTurn.Unlock()
	ids := map[domain.PluginID]bool{}
	for _, b := range a.builtins() {
		ids[plugin.IDOf(b.manifest.ID)] = true
	}
	for row, err := range each(ctx, a.pool, plugins.List, plugins.Filter{}) {
		if err != nil {
			return fmt.Errorf("list plugins: %w", err)
		}
		ids[row.Data.ID] = true
	}
	a.hearing.Lock()
	maps.Copy(ids, a.heardOf)
	a.hearing.Unlock()
	var all []host.Installed
	for id := range ids {
		now, err := eventstore.Recall(ctx, a.commands.Ledger(), commands.Plugins, id.UUID)
		if err != nil {
			return err
		}
		all = append(all, a.versions(id, now.State)...)
	}
	return a.host.Set(all)
}

// versions are the versions of a plugin that this machine has.
func (a *App) versions(id domain.PluginID, p plugin.State) []host.Installed {
	var out []host.Installed
	seen := map[string]bool{}
	for i := len(p.Versions) - 1; i >= 0; i-- {
		v := p.Versions[i].Installed
		if seen[v.Version] {
			continue
		}
		seen[v.Version] = true
		m, err := manifest.Parse(v.Manifest)
		if err != nil {
			a.log.Error("a plugin's manifest is not one that this version of the engine takes", "plugin", v.Key, "version", v.Version, "error", err)
			continue
		}
		in := host.Installed{
			Plugin: drivers.Plugin{ID: id.String(), Key: v.Key, Version: v.Version}, Manifest: m,
			Enabled: p.Status == plugin.StatusEnabled && v.Version == p.Version, Disabled: p.Disables,
			Env: a.opts.PluginEnv[v.Key], SecretEnv: a.opts.PluginSecretEnv[v.Key],
		}
		if v.Source == builtIn {
			if v.Version == p.Version {
				out = append(out, a.builtIn(in))
			}
			continue
		}
		if !a.drives() {
			in.Command = []string{"/bin/false"} // it says what the plugin is like, and never starts it
			out = append(out, in)
			continue
		}
		if in.Command, err = m.Command(filepath.Join(a.filesDir(), v.Digest), ""); err != nil {
			a.log.Warn("a version of a plugin is not on this machine", "plugin", v.Key, "version", v.Version, "error", err)
			continue
		}
		out = append(out, in)
	}
	return out
}

// builtIn adds how a plugin of this binary is run.
func (a *App) builtIn(in host.Installed) host.Installed {
	for _, b := range a.builtins() {
		if b.manifest.ID != in.Plugin.Key {
			continue
		}
		state := filepath.Join(a.pluginDir(), "state", b.name)
		in.Command = []string{"/proc/self/exe", PluginCommand, b.name}
		in.AsRoot, in.AcceptsOlder = b.asRoot, true
		var groups *cgroup.Delegation
		in.Prepare = func(context.Context) (map[string]string, error) {
			if err := a.makeState(state, b.asRoot); err != nil {
				return nil, err
			}
			env := map[string]string{stateVar: state}
			if user := a.workerUser(); b.cgroups && user != nil {
				var err error
				if groups, err = cgroup.Delegate(b.name, int(user.UID), int(user.GID)); err != nil {
					return nil, err
				}
				env[cgroup.Variable] = groups.Hierarchy.Encode()
			}
			return env, nil
		}
		in.Started = func(pid int) error {
			if groups == nil {
				return nil
			}
			return groups.Place(pid)
		}
	}
	return in
}

// makeState makes the directory that a worker may write.
func (a *App) makeState(dir string, asRoot bool) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil {
		return fmt.Errorf("make the worker's directory: %w", err)
	}
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make the worker's directory: %w", err)
	}
	if user := a.workerUser(); user != nil && !asRoot {
		return os.Chown(dir, int(user.UID), int(user.GID))
	}
	return nil
}

// heardPlugin notes a change of a plugin, and makes the host know of it.
func (a *App) heardPlugin(r eventstore.Recorded) {
	if r.Stream.Category() != plugin.Category {
		return
	}
	id, err := r.Stream.ID()
	if err != nil {
		return
	}
	a.expectPlugin(domain.PluginID{UUID: id})
	select {
	case a.pluginNews <- struct{}{}:
	default: // somebody is about to look already
	}
}

// expectPlugin makes the next look at the plugins include this one, whether the read model shows it or not.
func (a *App) expectPlugin(id domain.PluginID) {
	a.hearing.Lock()
	defer a.hearing.Unlock()
	a.heardOf[id] = true
}

// lookTwice is the host for drivers. What it does not find it looks for once more in the log: who was told that a plugin is
// installed may use it at once, although the news of it are still on their way.
type lookTwice struct{ a *App }

var _ provider.Workers = lookTwice{}

// Offer implements [provider.Workers].
func (l lookTwice) Offer(q provider.Query) (provider.Offer, error) {
	offer, missing := l.a.host.Offer(q)
	if missing == nil {
		return offer, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := l.a.refreshPlugins(ctx); err != nil {
		return nil, missing
	}
	return l.a.host.Offer(q)
}

// followPlugins refreshes the host when a plugin changes.
func (a *App) followPlugins(ctx context.Context) {
	a.background(ctx, "news of plugins", func(ctx context.Context) { a.onPluginNews(ctx, a.refreshPlugins) })
}

// lookAgain is how long to wait before plugins that could not be read are read again: nobody brings the same news twice.
const lookAgain = time.Second

// onPluginNews calls refresh for each of the news, until it works, until ctx ends.
func (a *App) onPluginNews(ctx context.Context, refresh func(context.Context) error) {
	var again <-chan time.Time
	for {
		select {
		case <-a.pluginNews:
		case <-again:
		case <-ctx.Done():
			return
		}
		again = nil
		if err := refresh(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("the plugins could not be read", "error", err)
			again = time.After(lookAgain)
		}
	}
}

// pluginProcesses tells the API how the processes of plugins stand.
type pluginProcesses struct{ host *host.Host }

var _ api.PluginProcesses = pluginProcesses{}

// PluginProcess is the process of a plugin's enabled version, or of one that leases are pinned to.
func (p pluginProcesses) PluginProcess(id domain.PluginID) (api.PluginProcess, bool) {
	var found *host.Status
	for _, s := range p.host.Status() {
		if s.Plugin.ID == id.String() && (found == nil || s.Enabled) {
			found = &s
		}
	}
	if found == nil {
		return api.PluginProcess{}, false
	}
	return api.PluginProcess{
		State: string(found.State), PID: found.PID, Restarts: found.Restarts, Health: found.Health, Error: found.LastError, RetryAt: found.NextTry,
	}, true
}
