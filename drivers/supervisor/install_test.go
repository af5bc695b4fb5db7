package supervisor_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/install"
	"github.com/tenure-dev/tenure/domain/plugin"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// shelf installs what lies anywhere but under /broken.
type shelf struct{}

func (shelf) InstallPlugin(_ context.Context, source string) (plugin.Installed, error) {
	if strings.HasPrefix(source, "/broken") {
		return plugin.Installed{}, &drivers.Failure{Code: "manifest_invalid", Remediation: "give it one", Err: errors.New("version: is missing")}
	}
	return plugin.Installed{Key: "acme.boxes", Version: "1", Digest: source, Manifest: json.RawMessage(`{}`), Source: source}, nil
}

func TestAPluginIsInstalledByTheNodeThatHasIt(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.installer = shelf{}
		n := w.start(supervisor.Options{})
		wish := func(source string, node domain.NodeID) install.State {
			id := domain.InstallID{UUID: uuid.New()}
			_, err := w.client.RequestInstall(t.Context(), commands.Caller{}, id, install.Requested{Source: source, Node: node})
			require.NoError(t, err)
			w.pass(within)
			i, err := eventstore.Load(t.Context(), w.client.Ledger(), commands.Installs, id.UUID)
			require.NoError(t, err)
			return i.State
		}
		require.Equal(t, install.StatusRequested, wish("/opt/acme", domain.NodeID{UUID: uuid.New()}).Status, "it lies on another machine")

		done := wish("/opt/acme", n.process.Node)
		require.Equal(t, install.StatusDone, done.Status)
		require.Equal(t, plugin.IDOf("acme.boxes"), done.Done.Plugin)
		require.Equal(t, []string{"PluginInstalled", "PluginEnabled"}, w.names(commands.Plugins.Stream(done.Done.Plugin.UUID)))

		failed := wish("/broken/acme", n.process.Node)
		require.Equal(t, install.Failed{Code: "manifest_invalid", Message: "manifest_invalid: version: is missing", Remediation: "give it one"}, failed.Failure)
		changed := wish("/opt/changed", n.process.Node)
		require.Equal(t, "plugin_version_changed", changed.Failure.Code, "the log says no")
	})
}
