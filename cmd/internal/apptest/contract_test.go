package apptest_test

import (
	"testing"
	"time"

	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/plugins/plugintest"
)

func TestMain(m *testing.M) { apptest.Main(m) }

// waitLong is more than anything takes that is waited for.
const waitLong = 2 * time.Minute

// The seed's contract and what is promised of every command, on embedded Postgres; docker, which needs root, is in roottest.
func TestTheSeedsContractHoldsForEveryDriver(t *testing.T) {
	t.Parallel()
	npm := plugintest.NPMProvider(t)
	e := apptest.Start(t, apptest.OnServer(t), withNode(npm))
	for _, k := range []apptest.Kind{
		localKind(t, e), sshKind(t, e), fakeKind(t, e), bubblewrapKind(t, e), npmKind(t, e, npm),
	} {
		t.Run(k.Provider, func(t *testing.T) {
			t.Parallel()
			apptest.Contract(t, e, k)
			if !k.NoShell {
				apptest.Commands(t, e, k)
			}
		})
	}
}
