package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/provider"
)

// Host is the plugins of this process.
type Host struct {
	opts Options
	// ending are the plugins that are being ended. hard is closed when their time is over.
	ending   sync.WaitGroup
	hard     chan struct{}
	hardOnce sync.Once

	mu      sync.Mutex
	stopped bool
	table   map[id]*plugin
	// ended are closed when what was last taken out of a place of the table has ended.
	ended map[id]<-chan struct{}
}

// id names one version of one plugin.
type id struct{ plugin, version string }

func (i Installed) id() id { return id{i.Plugin.ID, i.Plugin.Version} }

// New makes a host without plugins, and ends the workers that an earlier engine left behind in Dir.
func New(opts Options) (*Host, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	opts = opts.Defaults()
	for _, dir := range []string{recordsDir(opts.Dir), learntDir(opts.Dir)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make the plugin host's directory: %w", err)
		}
	}
	if err := endSurvivors(opts.Dir, opts.Logger); err != nil {
		return nil, err
	}
	return &Host{opts: opts, hard: make(chan struct{}), table: make(map[id]*plugin), ended: make(map[id]<-chan struct{})}, nil
}

// Set replaces the table. The worker of a plugin that is not in it any more, that has changed, or that has been disabled, is
// ended in good order; one that takes its place starts after that. No process starts because of Set.
func (h *Host) Set(installed []Installed) error {
	next := make(map[id]Installed, len(installed))
	enabled := make(map[string]bool)
	for _, in := range installed {
		if in.Plugin.ID == "" || len(in.Command) == 0 && in.Inside == nil {
			return fmt.Errorf("plugin %q: it has no id or no command", in.Plugin.Key)
		}
		if _, twice := next[in.id()]; twice || in.Enabled && enabled[in.Plugin.ID] {
			return fmt.Errorf("plugin %q: it is installed twice", in.Plugin.Key)
		}
		enabled[in.Plugin.ID] = enabled[in.Plugin.ID] || in.Enabled
		next[in.id()] = in
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return errors.New("the plugin host has stopped")
	}
	for key, p := range h.table {
		if _, stays := next[key]; !stays {
			h.retire(key, p)
		}
	}
	for key, in := range next {
		usable := enabled[key.plugin]
		if p, there := h.table[key]; there {
			if p.usable == usable && same(p.installed, in) {
				p.enabled = in.Enabled
				continue
			}
			h.retire(key, p)
		}
		h.table[key] = newPlugin(h.opts, in, h.hard, h.ended[key], usable)
	}
	return nil
}

// retire takes a plugin out of the table and ends it in the background; mu is held.
func (h *Host) retire(key id, p *plugin) {
	end := make(chan struct{})
	delete(h.table, key)
	h.ended[key] = end
	h.ending.Go(func() {
		defer close(end)
		p.retire()
	})
}

// same compares what a running worker depends on.
func same(a, b Installed) bool {
	return a.Plugin == b.Plugin && a.Disabled == b.Disabled && slices.Equal(a.Command, b.Command) && maps.Equal(a.Env, b.Env) && maps.Equal(a.SecretEnv, b.SecretEnv) &&
		a.AsRoot == b.AsRoot &&
		a.AcceptsOlder == b.AcceptsOlder && string(a.Manifest.Raw) == string(b.Manifest.Raw)
}

// Offer implements [provider.Workers].
func (h *Host) Offer(q provider.Query) (provider.Offer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, err := h.find(q)
	if err != nil {
		return nil, err
	}
	d, ok := p.installed.Manifest.Driver(q.Key)
	if !ok || d.Kind != q.Kind {
		return nil, notHere(drivers.OutcomeDefinite, "provider_not_offered",
			fmt.Errorf("plugin %q %s has no %s %q", p.installed.Plugin.Key, p.installed.Plugin.Version, q.Kind, q.Key),
			"upgrade the plugin, or use one that has it")
	}
	return offer{plugin: p, driver: d}, nil
}

func notHere(outcome drivers.Outcome, code string, err error, remediation string) error {
	return &drivers.Failure{Outcome: outcome, Code: code, Step: "find_plugin", Err: err, Remediation: remediation}
}

// find chooses the plugin that a query is about; mu is held.
func (h *Host) find(q provider.Query) (*plugin, error) {
	if q.Plugin.ID != "" {
		return h.pinned(q)
	}
	var disabled string
	var found *plugin
	for _, p := range h.table {
		in := p.installed
		d, ok := in.Manifest.Driver(q.Key)
		if !ok || d.Kind != q.Kind || q.PluginKey != "" && q.PluginKey != in.Plugin.Key {
			continue
		}
		if !p.enabled {
			disabled = in.Plugin.Key
			continue
		}
		if found == nil || in.before(found.installed) { // two plugins may offer one name; the choice is always the same
			found = p
		}
	}
	switch {
	case found != nil:
		return found, nil
	case disabled != "":
		return nil, notHere(drivers.OutcomeDefinite, "plugin_disabled", fmt.Errorf("the plugin %q, which has %s %q, is disabled", disabled, q.Kind, q.Key),
			fmt.Sprintf("enable it: tenure plugin enable %s", disabled))
	default:
		return nil, notHere(drivers.OutcomeDefinite, "provider_not_installed", fmt.Errorf("no plugin here has %s %q", q.Kind, q.Key),
			"install one: tenure plugin install; tenure plugin list shows what is here")
	}
}

func (i Installed) before(other Installed) bool {
	if i.Plugin.Key != other.Plugin.Key {
		return i.Plugin.Key < other.Plugin.Key
	}
	return i.Plugin.ID < other.Plugin.ID
}

// pinned finds the plugin that made a runtime. It is asked for again and again until it is here, since only it can take the
// runtime down.
func (h *Host) pinned(q provider.Query) (*plugin, error) {
	p, ok := h.table[id{q.Plugin.ID, q.Plugin.Version}]
	if !ok {
		for key, other := range h.table {
			if key.plugin == q.Plugin.ID && other.enabled && other.installed.AcceptsOlder {
				p, ok = other, true
			}
		}
	}
	if !ok {
		return nil, notHere(drivers.OutcomeRetryable, "plugin_version_missing",
			fmt.Errorf("the plugin %q %s, which made this runtime, is not installed here", q.Plugin.Key, q.Plugin.Version),
			fmt.Sprintf("install version %s of it again", q.Plugin.Version))
	}
	if !p.usable {
		return nil, notHere(drivers.OutcomeRetryable, "plugin_disabled", fmt.Errorf("the plugin %q, which made this runtime, is disabled", q.Plugin.Key),
			fmt.Sprintf("enable it: tenure plugin enable %s", q.Plugin.Key))
	}
	return p, nil
}

// Status tells how the plugins are, by key and version.
func (h *Host) Status() []Status {
	h.mu.Lock()
	all := make([]Status, 0, len(h.table))
	for _, p := range h.table {
		all = append(all, p.status())
	}
	h.mu.Unlock()
	slices.SortFunc(all, func(a, b Status) int {
		return strings.Compare(a.Plugin.Key+"\x00"+a.Plugin.Version+"\x00"+a.Plugin.ID, b.Plugin.Key+"\x00"+b.Plugin.Version+"\x00"+b.Plugin.ID)
	})
	return all
}

// Stop ends every worker in good order: no new calls, then those in flight are waited for, then shutdown, SIGTERM and
// SIGKILL. When ctx is done the rest is killed.
func (h *Host) Stop(ctx context.Context) error {
	h.mu.Lock()
	h.stopped = true
	for key, p := range h.table {
		h.retire(key, p)
	}
	h.mu.Unlock()
	done := make(chan struct{})
	go func() {
		h.ending.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	h.hardOnce.Do(func() { close(h.hard) })
	<-done // a killed process ends
	return fmt.Errorf("stop the plugins: some were killed: %w", context.Cause(ctx))
}

func recordsDir(dir string) string { return filepath.Join(dir, "running") }

func learntDir(dir string) string { return filepath.Join(dir, "learnt") }

var _ provider.Workers = (*Host)(nil)
