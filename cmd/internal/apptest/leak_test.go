package apptest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/plugins/plugintest"
)

// Cases A37 and A38: what a server knows stays with it, and what an environment's commands are to know reaches them and
// nobody else; docker is in roottest.
//
//nolint:tparallel // the subtests together come before the look at what they left
func TestNothingOfTheServerReachesAWorkerOrARuntime(t *testing.T) {
	t.Parallel()
	npm := plugintest.NPMProvider(t)
	p := apptest.Plant(t, withNode(npm))
	e := p.Engine
	server := sshKind(t, e)
	require.True(t, t.Run("drivers", func(t *testing.T) {
		for _, k := range []apptest.Kind{localKind(t, e), server, fakeKind(t, e), bubblewrapKind(t, e), npmKind(t, e, npm)} {
			// One after the other: they would wait for their turn behind all other tests, with the machine's processes watched meanwhile.
			t.Run(k.Provider, func(t *testing.T) { p.Hold(t, k) })
		}
	}))
	p.Check(t, server.Config["remoteWorkspacePath"].(string))
}
