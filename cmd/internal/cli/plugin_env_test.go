package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVariablesOfPluginsAreSecretUnlessTheyStandOnTheCommandLine(t *testing.T) {
	t.Parallel()
	env := func(name string) string { return map[string]string{"TOKEN": "t0ken"}[name] }
	open, secret, err := parsePluginEnv([]string{"tenure.docker=DOCKER_HOST=unix:///a=b", "acme=TOKEN", "acme=EMPTY="}, env)
	require.NoError(t, err)
	require.Equal(t, varsOf{"tenure.docker": {"DOCKER_HOST": "unix:///a=b"}, "acme": {"EMPTY": ""}}, open)
	require.Equal(t, varsOf{"acme": {"TOKEN": "t0ken"}}, secret)
	for _, bad := range []string{"", "acme", "acme=", "=NAME", "acme=MISSING"} {
		_, _, err := parsePluginEnv([]string{bad}, env)
		require.ErrorContains(t, err, "plugin-env: ", bad)
	}
}
