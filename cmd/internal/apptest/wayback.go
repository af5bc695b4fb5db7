package apptest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

// fetch gets the health route with what a runtime has.
const fetch = `url=$PAPERCLIP_API_URL/api/health; if command -v curl >/dev/null; then curl -fsS "$url"; else wget -q -O - "$url"; fi
echo; echo "$PAPERCLIP_API_URL"`

// FindsBack holds a kind of environment to case A30: the run itself calls the health route at the URL that it was given,
// and the lease shows that URL. It returns the URL.
func FindsBack(t *testing.T, e *Engine, k Kind) string {
	t.Helper()
	e = e.In(t)
	lease := e.Acquire(k.Tenant(e), wire.AcquireLease{}).Lease
	x, out, errs := e.Run(lease.ID, wire.StartExec{Argv: []string{"sh", "-c", fetch}, TimeoutMs: 20_000})
	require.Equal(t, wire.EndExited, x.Result.End, "%s", errs)
	require.Contains(t, string(out), `"status"`, "%s", errs)
	var url string
	if shown, has := lease.Metadata["paperclipApiUrl"]; has {
		url = shown.(string)
		require.Contains(t, string(out), "\n"+url+"\n")
	} else { // of driver local, whose metadata the seed's contract fixes
		_, out, _ := e.Run(lease.ID, wire.StartExec{Argv: []string{"sh", "-c", `printf %s "$PAPERCLIP_API_URL"`}})
		url = string(out)
	}
	require.NotContains(t, url, "0.0.0.0")
	_, err := e.Client.ReleaseLease(t.Context(), lease.ID, wire.Release{}, client.Wait(waitLong))
	require.NoError(t, err)
	require.Empty(t, k.Left())
	return url
}
