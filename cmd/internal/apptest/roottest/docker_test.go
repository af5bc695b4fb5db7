package roottest

import (
	"context"
	"net"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/plugins/docker/dockertest"
)

func startDocker(t *testing.T) *dockertest.Engine {
	t.Helper()
	docker, err := dockertest.Start(t.Context(), dockertest.WithBridge)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, docker.Stop()) })
	return docker
}

// withDocker lets the engine's worker use it. The engine under test is no static program, so containers get another one.
func withDocker(docker *dockertest.Engine) apptest.Option {
	return apptest.WithArgs("--plugin-env", "tenure.docker=DOCKER_HOST="+docker.Host, "--plugin-env", "tenure.docker=TENURE_PLUGIN_INNER="+docker.Inner)
}

func dockerKind(t *testing.T, docker *dockertest.Engine) apptest.Kind {
	some := func(v any) bool { s, ok := v.(string); return ok && s != "" }
	return apptest.Kind{
		Driver: "sandbox", Provider: "docker", Config: map[string]any{"provider": "docker", "image": dockertest.Image, "memoryMb": 512},
		ProviderLeaseID: `docker://.+|[0-9a-f]{64}`,
		Metadata: map[string]any{
			"provider": "docker", "pluginId": some, "pluginKey": "tenure.docker", "paperclipApiUrl": nil, "image": dockertest.Image,
			"memoryMb": 512.0, "containerId": some, "containerName": some, "imageId": some, "host": docker.Host, "workspace": some,
			"network": "none", "runtimeIdentity": some, "engineId": some,
		},
		Left: func() []string {
			t.Helper()
			left, err := docker.Left(context.Background(), "")
			require.NoError(t, err)
			return left
		},
	}
}

// The seed's contract, what is promised of every command, that nothing of the server gets in, the way back and a killed
// engine, for containers.
func TestTheSeedsContractHoldsForDocker(t *testing.T) {
	t.Parallel()
	docker := startDocker(t)
	p := apptest.Plant(t, withDocker(docker), apptest.WithArgs("--listen", "0.0.0.0:0", "--insecure-listen"))
	k := dockerKind(t, docker)
	apptest.Contract(t, p.Engine, k)
	apptest.Commands(t, p.Engine, k)
	p.Hold(t, k)

	bridged := k
	bridged.Config = map[string]any{"provider": "docker", "image": dockertest.Image, "network": "bridge", "runtimeUrl": "required"}
	address, err := url.Parse(p.Client.BaseURL())
	require.NoError(t, err)
	found, err := url.Parse(apptest.FindsBack(t, p.Engine, bridged))
	require.NoError(t, err)
	require.Equal(t, address.Port(), found.Port())
	require.False(t, net.ParseIP(found.Hostname()).IsLoopback(), "that of the container has nobody on it")

	p.Check(t)
	p.Start()
	require.Equal(t, []string{"tenure.docker"}, apptest.OutliveKill(t, p.Engine, k))
}
