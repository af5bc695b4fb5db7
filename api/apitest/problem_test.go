package apitest_test

import (
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api"
	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

var update = flag.Bool("update", false, "write testdata/problems.json anew")

// TestProblemsAreThoseThatClientsKnow holds the bodies of common problems to a golden file: programs rely on their codes and
// people on their words.
func TestProblemsAreThoseThatClientsKnow(t *testing.T) {
	t.Parallel()
	s := start(t, withLimits(api.Limits{BodyBytes: 200, ExecBodyBytes: 300}))
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	long := `{"name":"` + strings.Repeat("x", 300) + `"}`
	company, lease := "/api/v1/companies/"+tn.company.String(), "/api/v1/leases/"+l.ID.String()
	s.raw(s.adminKey, "POST", "/api/v1/companies", `{"name":"a"}`, "Idempotency-Key", "used")
	requests := []struct{ what, key, method, path, body, header, value string }{
		{"no key", "", "GET", "/api/v1/companies", "", "", ""},
		{"no such route", s.adminKey, "GET", "/api/v1/nothing", "", "", ""},
		{"no such method", s.adminKey, "DELETE", "/api/v1/companies", "", "", ""},
		{"no id", tn.key, "GET", "/api/v1/leases/17", "", "", ""},
		{"unknown id", tn.key, "GET", "/api/v1/leases/00000000-0000-4000-8000-000000000000", "", "", ""},
		{"role", tn.key, "POST", company + "/environments", `{"name":"x","driver":"local"}`, "", ""},
		{"body too large", s.adminKey, "POST", "/api/v1/companies", long, "", ""},
		{"exec body too large", tn.key, "POST", lease + "/execs", `{"argv":["` + strings.Repeat("x", 300) + `"]}`, "", ""},
		{"body of another type", s.adminKey, "POST", "/api/v1/companies", `name=acme`, "Content-Type", "application/x-www-form-urlencoded"},
		{"compressed body", s.adminKey, "POST", "/api/v1/companies", `{"name":"x"}`, "Content-Encoding", "gzip"},
		{"not JSON", s.adminKey, "POST", "/api/v1/companies", `{"name":`, "", ""},
		{"unknown field", s.adminKey, "POST", "/api/v1/companies", `{"nome":"acme"}`, "", ""},
		{"wrong type", s.adminKey, "POST", "/api/v1/companies", `{"name":{}}`, "", ""},
		{"no body", s.adminKey, "POST", "/api/v1/companies", "", "", ""},
		{"fields for a request without", s.adminKey, "POST", "/api/v1/environments/" + tn.env.ID.String() + "/probe", `{"ttl":"1h"}`, "", ""},
		{"bad idempotency key", s.adminKey, "POST", "/api/v1/companies", `{"name":"x"}`, "Idempotency-Key", "\u00e9"},
		{"reused idempotency key", s.adminKey, "POST", "/api/v1/companies", `{"name":"b"}`, "Idempotency-Key", "used"},
		{"no fence", tn.key, "POST", lease + "/renew", "", "", ""},
		{"stale fence", tn.key, "POST", lease + "/renew", "", "Lease-Fence", "7"},
		{"bad If-Match", s.adminKey, "PATCH", "/api/v1/environments/" + tn.env.ID.String(), `{}`, "If-Match", "W/x"},
		{"stale If-Match", s.adminKey, "PATCH", "/api/v1/environments/" + tn.env.ID.String(), `{"name":"x"}`, "If-Match", `"99"`},
		{"bad cursor", s.adminKey, "GET", "/api/v1/companies?after=zzz", "", "", ""},
		{"unknown parameter", s.adminKey, "GET", "/api/v1/companies?nome=x", "", "", ""},
		{"unknown projection", s.adminKey, "POST", "/api/v1/projections/nothing/rebuild", "", "", ""},
		{"stream not parked", s.adminKey, "POST", "/api/v1/projections/leases/parked/lease-x/skip", "", "", ""},
	}
	got := map[string]wire.Problem{}
	for _, r := range requests {
		header := []string{}
		if r.header != "" {
			header = []string{r.header, r.value}
		}
		p := s.problem(r.key, r.method, r.path, r.body, header...)
		require.NotEmpty(t, p.RequestID)
		p.RequestID = ""
		got[r.what] = p
	}
	const file = "testdata/problems.json"
	if *update {
		raw, err := json.MarshalIndent(got, "", "  ")
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, append(raw, '\n'), 0o644))
	}
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	var want map[string]wire.Problem
	require.NoError(t, json.Unmarshal(raw, &want))
	require.Empty(t, cmp.Diff(want, got))
}

func TestRequestIDOfTheClientIsEchoed(t *testing.T) {
	t.Parallel()
	s := start(t)
	const id = "0190b1f2-7c1e-7a3b-9d55-3f0a1c2b4d5e"
	resp, _ := s.raw("", "GET", "/api/health", "", wire.HeaderRequestID, id)
	require.Equal(t, id, resp.Header.Get(wire.HeaderRequestID))
	resp, _ = s.raw("", "GET", "/api/health", "", wire.HeaderRequestID, "<script>")
	require.NotEqual(t, "<script>", resp.Header.Get(wire.HeaderRequestID))
}

func TestUnreachableServerIsToldApart(t *testing.T) {
	t.Parallel()
	c, err := client.New("http://127.0.0.1:1", "")
	require.NoError(t, err)
	_, err = c.Health(t.Context())
	require.ErrorIs(t, err, client.ErrUnreachable)
	_, err = client.New("127.0.0.1:7717", "")
	require.Error(t, err)
}

func TestLostAnswerIsRepeatedWithTheSameKey(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	lossy := &lossyTransport{next: &http.Transport{}}
	c, err := client.New(s.url, tn.key, client.WithHTTPClient(&http.Client{Transport: lossy}))
	require.NoError(t, err)
	defer c.CloseIdleConnections()
	acquired, _, err := c.AcquireLease(t.Context(), tn.company, tn.ask("run"))
	require.NoError(t, err)
	require.Equal(t, 2, lossy.calls)
	list, err := tn.client.Leases(t.Context(), tn.company, client.LeaseFilter{}, client.MinPosition(acquired.Position))
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
	require.Equal(t, acquired.Lease.ID, list.Items[0].ID)
}

// lossyTransport loses the first answer, after the server gave it.
type lossyTransport struct {
	next  http.RoundTripper
	calls int
}

func (l *lossyTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	l.calls++
	resp, err := l.next.RoundTrip(req)
	if err == nil && l.calls == 1 {
		resp.Body.Close()
		return nil, http.ErrServerClosed
	}
	return resp, err
}
