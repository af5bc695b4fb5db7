package apptest

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

// Kind is a driver with a configuration that works on this machine, for the tests that hold for every driver.
type Kind struct {
	// Driver and Provider are those of an environment and of its leases.
	Driver, Provider string
	// Config is the environment's; a value may be a secret.
	Config map[string]any
	// ProviderLeaseID is a pattern of the runtime's name at the provider, with RUN for the run; "" where it has none.
	ProviderLeaseID string
	// Metadata is what a lease says besides driver and executionWorkspaceMode, exactly. A func(any) bool looks at its value.
	Metadata map[string]any
	// Left names what is there of runtimes on the host.
	Left func() []string
	// NoShell says that the commands are not processes; Text that output passes through text on its way, and that a
	// process in a session of its own outlives a timeout.
	NoShell, Text bool
}

// Add is the settings of an environment of the kind.
func (k Kind) Add(e *Engine) wire.AddEnvironment {
	e.t.Helper()
	config, err := json.Marshal(k.Config)
	require.NoError(e.t, err)
	return wire.AddEnvironment{Name: k.Provider, Driver: k.Driver, Config: config}
}

// Tenant adds a company with an environment of the kind.
func (k Kind) Tenant(e *Engine) Tenant {
	e.t.Helper()
	return e.Tenant(k.Add(e))
}

// In is the engine for a subtest, which fails where a helper does.
func (e *Engine) In(t testing.TB) *Engine {
	in := *e
	in.t = t
	return &in
}

// Events are all events of the log.
func (e *Engine) Events() []wire.Event {
	e.t.Helper()
	var all []wire.Event
	for after := ""; ; {
		page, err := e.Client.Events(context.Background(), client.Page(after, 1000))
		require.NoError(e.t, err)
		all = append(all, page.Items...)
		if page.Next == nil || len(page.Items) == 0 {
			return all
		}
		after = *page.Next
	}
}

// Workers are the processes of plugins that run, by the plugin's key.
func (e *Engine) Workers() map[string]int {
	e.t.Helper()
	plugins, err := e.Client.Plugins(context.Background())
	require.NoError(e.t, err)
	pids := map[string]int{}
	for _, p := range plugins.Items {
		if p.Process != nil && p.Process.PID != 0 {
			pids[p.Key] = p.Process.PID
		}
	}
	return pids
}
