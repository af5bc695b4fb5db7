package apptest_test

import (
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/plugins/plugintest"
)

// Case A30 where the server listens on loopback only: what is on this machine finds it there, whatever its public name is,
// and what needs a way and has none says which were tried.
func TestARuntimeFindsItsWayBackToAServerOnLoopback(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t, apptest.OnServer(t), apptest.WithArgs("--public-url", "https://tenure.invalid", "--allowed-host", "10.255.255.1"))
	required := map[string]any{"runtimeUrl": "required"}
	bubblewrap := bubblewrapKind(t, e)
	p := refused(t, e, but(bubblewrap, required))
	require.Contains(t, p.Detail, "runtime_url_unreachable", "it has no network")
	require.Empty(t, bubblewrap.Left())
	for name, k := range map[string]apptest.Kind{
		"local":                    localKind(t, e),
		"ssh":                      but(sshKind(t, e), required),
		"ssh, a candidate is away": but(sshKind(t, e), map[string]any{"runtimeUrl": "required", "runtimeApiCandidates": []string{"http://127.0.0.1:" + itoa(driverstest.ClosedPort(t))}}),
		"bubblewrap":               but(bubblewrap, map[string]any{"runtimeUrl": "required", "network": "host"}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, e.Client.BaseURL(), apptest.FindsBack(t, e, k))
		})
	}
}

// refused asks for a lease of a kind that fails.
func refused(t *testing.T, e *apptest.Engine, k apptest.Kind) *client.Problem {
	t.Helper()
	tenant := k.Tenant(e)
	_, _, err := e.Client.AcquireLease(t.Context(), tenant.Company.ID, wire.AcquireLease{
		EnvironmentID: tenant.Environment.ID, HeartbeatRunID: uuid.NewString(),
	}, client.Wait(waitLong))
	var p *client.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, "lease_failed", p.Code)
	require.Equal(t, wire.LeaseFailed, p.Lease.Status)
	require.Nil(t, p.Lease.AcquiredAt)
	require.NotEmpty(t, p.Remediation)
	return p
}

// Case A30 where the candidates are denied or away: the lease fails before it begins, with each of them, or goes on without.
func TestARuntimeWithoutAWayBackFailsOrGoesOnWithoutOne(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t, apptest.OnServer(t), apptest.WithArgs("--deny-runtime-url", "127.0.0.1"),
		apptest.WithEnv(`PAPERCLIP_RUNTIME_API_CANDIDATES_JSON=["http://no-such-host.invalid:7"]`))
	ssh := but(sshKind(t, e), map[string]any{"runtimeApiCandidates": []string{"http://169.254.169.254", "http://[::1]:" + itoa(driverstest.ClosedPort(t))}})
	p := refused(t, e, but(ssh, map[string]any{"runtimeUrl": "required"}))
	tried := ssh.Config["runtimeApiCandidates"].([]string)
	at := 0
	for _, candidate := range []string{"http://no-such-host.invalid:7", tried[0], tried[1], e.Client.BaseURL()} {
		i := strings.Index(p.Detail[at:], candidate)
		require.NotEqual(t, -1, i, "%s, in its order, in %q", candidate, p.Detail)
		at += i
	}
	require.Contains(t, p.Detail, tried[0]+": denied")
	require.Contains(t, p.Detail, e.Client.BaseURL()+": denied")
	require.Empty(t, ssh.Left())

	lease := e.Acquire(ssh.Tenant(e), wire.AcquireLease{}).Lease
	got, has := lease.Metadata["paperclipApiUrl"]
	require.True(t, has)
	require.Nil(t, got)
	x, out, _ := e.Run(lease.ID, wire.StartExec{Argv: []string{"env"}})
	require.Equal(t, 0, *x.Result.ExitCode)
	require.NotContains(t, string(out), "PAPERCLIP_API_URL")
}

// Case A30 where the server listens everywhere: a runtime elsewhere gets an address that it reaches, never 0.0.0.0.
func TestARuntimeFindsItsWayBackToAServerThatListensEverywhere(t *testing.T) {
	t.Parallel()
	npm := plugintest.NPMProvider(t)
	e := apptest.Start(t, apptest.OnServer(t), withNode(npm), apptest.WithArgs("--listen", "0.0.0.0:0", "--insecure-listen"))
	address, err := url.Parse(e.Client.BaseURL())
	require.NoError(t, err)
	loopback := "http://127.0.0.1:" + address.Port()
	require.Equal(t, loopback, apptest.FindsBack(t, e, localKind(t, e)))
	require.Equal(t, loopback, apptest.FindsBack(t, e, but(sshKind(t, e), map[string]any{"runtimeUrl": "required"})))
	elsewhere := but(npmKind(t, e, npm), map[string]any{"runtimeUrl": "required"})
	if !hasAddress(t) {
		require.Contains(t, refused(t, e, elsewhere).Detail, "runtime_url_unreachable")
		return
	}
	found, err := url.Parse(apptest.FindsBack(t, e, elsewhere))
	require.NoError(t, err)
	require.Equal(t, address.Port(), found.Port())
	require.False(t, net.ParseIP(found.Hostname()).IsLoopback())
}

// hasAddress reports whether this machine has an address beyond loopback.
func hasAddress(t *testing.T) bool {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() && ip.IP.To4() != nil {
			return true
		}
	}
	return false
}
