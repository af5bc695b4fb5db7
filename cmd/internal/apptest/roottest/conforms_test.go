package roottest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/plugins/docker/dockertest"
)

// The worker of the plugin docker keeps the contract that others' are held to, and leaves nothing.
func TestTheDockerWorkerConforms(t *testing.T) {
	t.Parallel()
	docker, err := dockertest.Start(t.Context(), dockertest.NoBridge)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, docker.Stop()) })
	passed := apptest.Conforms(t, 0, "docker", map[string]any{"image": dockertest.Image}, "DOCKER_HOST="+docker.Host, "TENURE_PLUGIN_INNER="+docker.Inner)
	require.GreaterOrEqual(t, passed, 25)
	left, err := docker.Left(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, left)
}
