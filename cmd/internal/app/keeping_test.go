package app

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/local"
	"github.com/tenure-dev/tenure/drivers/pluginenv"
	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/drivers/sandbox"
	"github.com/tenure-dev/tenure/drivers/ssh"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/plugins/manifest"
)

// What the API is told of a plugin's driver comes from its manifest, so the manifest has to say what the driver can do.
func TestTheManifestsOfBuiltInPluginsSayWhichRuntimesCanBeKept(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, b := range builtins("") {
		installed, err := b.installed()
		require.NoError(t, err)
		m, err := manifest.Parse(installed.Manifest)
		require.NoError(t, err)
		for key, d := range b.described {
			said, ok := m.Driver(key)
			require.True(t, ok, key)
			require.Equal(t, d.Describe().Capabilities.Keep, said.ReusableLeases, key)
			_, keeper := d.(drivers.Keeper)
			require.Equal(t, keeper, said.ReusableLeases, key)
			seen++
		}
	}
	require.Equal(t, 5, seen)
}

// offers are plugins' drivers by what they declare.
type offers map[string]bool

func (o offers) Offer(q provider.Query) (provider.Offer, error) {
	keeps, ok := o[q.Key]
	if !ok {
		return nil, &drivers.Failure{Outcome: drivers.OutcomeDefinite, Code: "provider_unavailable"}
	}
	return offered{provider.Description{Key: q.Key, Kind: q.Kind, ReusableLeases: keeps}}, nil
}

// offered says what it is and must not be asked for anything else.
type offered struct{ about provider.Description }

func (o offered) Describe() provider.Description                   { return o.about }
func (offered) CheckConfig(json.RawMessage) error                  { panic("asked") }
func (offered) SecretFields(json.RawMessage) []drivers.SecretField { panic("asked") }
func (offered) Worker(context.Context) (provider.Worker, error)    { panic("asked") }

func TestWhoKeepsRuntimesIsKnownWithoutCallingADriver(t *testing.T) {
	t.Parallel()
	localDriver, err := local.New(local.Options{Root: filepath.Join(t.TempDir(), "runtimes"), ParentCommand: []string{"/bin/false"}, AllowRoot: true})
	require.NoError(t, err)
	sshDriver, err := ssh.New(ssh.Options{})
	require.NoError(t, err)
	t.Cleanup(sshDriver.Close)
	registry, err := drivers.NewRegistry(localDriver, sshDriver, fake.New(fake.Options{Name: "vm", NoKeep: true}))
	require.NoError(t, err)
	workers := offers{"box": true, "bin": false}
	registry, err = registry.With(sandbox.New(workers, nil, nil), pluginenv.New(workers, nil, nil))
	require.NoError(t, err)
	a := &App{opts: Options{Role: eventstore.RoleServe}, drivers: registry}
	require.ElementsMatch(t, []string{"local", "keeps:local", "ssh", "keeps:ssh", "vm"}, ownDrivers(registry))

	living := []eventstore.Process{{Alive: true, Role: eventstore.RoleWorker, Serves: ownDrivers(registry)}}
	c := checker{drivers: a.drivers, keeping: func(_ context.Context, driver, provider string) admission.Keeping {
		if provider == "elsewhere" {
			return admission.KeepingUnable // as the manifest of a plugin of another machine has it
		}
		return saidBy(living, driver)
	}}
	for _, is := range []struct {
		driver, config string
		want           admission.Keeping
	}{
		{"local", `{}`, admission.KeepingAble},
		{"ssh", `{}`, admission.KeepingAble},
		{"vm", `{}`, admission.KeepingUnable},
		{"sandbox", `{"provider": "box"}`, admission.KeepingAble},
		{"sandbox", `{"provider": "bin"}`, admission.KeepingUnable},
		{"sandbox", `{"provider": "elsewhere"}`, admission.KeepingUnable},
		{"sandbox", `{}`, admission.KeepingUnknown},
		{"plugin", `{"pluginKey": "acme", "driverKey": "box"}`, admission.KeepingAble},
		{"plugin", `{"pluginKey": "acme", "driverKey": "bin"}`, admission.KeepingUnable},
	} {
		require.Equal(t, is.want, c.Keeping(t.Context(), is.driver, json.RawMessage(is.config)), "%s %s", is.driver, is.config)
	}
	living[0].Alive = false
	require.Equal(t, admission.KeepingUnknown, c.Keeping(t.Context(), "local", nil), "nobody lives that has it")
}

// Of processes that differ, one that keeps is enough.
func TestOneProcessThatKeepsIsEnough(t *testing.T) {
	t.Parallel()
	with := eventstore.Process{Alive: true, Role: eventstore.RoleServe, Serves: []string{"vm", "keeps:vm"}}
	without := eventstore.Process{Alive: true, Role: eventstore.RoleServe, Serves: []string{"vm"}}
	require.Equal(t, admission.KeepingAble, saidBy([]eventstore.Process{without, with, without}, "vm"))
	require.Equal(t, admission.KeepingUnable, saidBy([]eventstore.Process{without}, "vm"))
	require.Equal(t, admission.KeepingUnknown, saidBy([]eventstore.Process{with}, "other"))
}
