package apitest_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain/access"
)

// idRoutes are all routes that name something of a company, with a body that would do.
var idRoutes = []struct{ method, path, body string }{
	{"PATCH", "/api/v1/companies/COMPANY", `{"defaultEnvironmentId":"ENV"}`},
	{"POST", "/api/v1/companies/COMPANY/keys", `{"name":"k","role":"client"}`},
	{"GET", "/api/v1/companies/COMPANY/keys", ""},
	{"POST", "/api/v1/keys/KEY/revoke", ""},
	{"POST", "/api/v1/companies/COMPANY/environments", `{"name":"x","driver":"local"}`},
	{"GET", "/api/v1/companies/COMPANY/environments", ""},
	{"GET", "/api/v1/environments/ENV", ""},
	{"PATCH", "/api/v1/environments/ENV", `{"name":"mine now"}`},
	{"POST", "/api/v1/environments/ENV/archive", ""},
	{"DELETE", "/api/v1/environments/ENV", ""},
	{"DELETE", "/api/v1/environments/ENV?force=true", ""},
	{"POST", "/api/v1/environments/ENV/probe", ""},
	{"POST", "/api/v1/companies/COMPANY/environments/probe", `{"driver":"local"}`},
	{"GET", "/api/v1/probes/PROBE", ""},
	{"POST", "/api/v1/companies/COMPANY/secrets", `{"name":"s","value":"v"}`},
	{"GET", "/api/v1/companies/COMPANY/secrets", ""},
	{"GET", "/api/v1/secrets/SECRET", ""},
	{"DELETE", "/api/v1/secrets/SECRET", ""},
	{"POST", "/api/v1/secrets/SECRET/versions", `{"value":"v"}`},
	{"POST", "/api/v1/secrets/SECRET/versions/1/disable", ""},
	{"POST", "/api/v1/secrets/SECRET/versions/1/enable", ""},
	{"POST", "/api/v1/secrets/SECRET/versions/1/destroy", ""},
	{"GET", "/api/v1/secrets/SECRET/reads", ""},
	{"POST", "/api/v1/companies/COMPANY/leases", `{"environmentId":"ENV","heartbeatRunId":"r"}`},
	{"GET", "/api/v1/companies/COMPANY/leases", ""},
	{"POST", "/api/v1/companies/COMPANY/runs/run/release", ""},
	{"GET", "/api/v1/leases/LEASE", ""},
	{"POST", "/api/v1/leases/LEASE/release", ""},
	{"POST", "/api/v1/leases/LEASE/cancel", ""},
	{"POST", "/api/v1/leases/LEASE/renew", ""},
	{"GET", "/api/v1/leases/LEASE/explain", ""},
	{"GET", "/api/v1/environments/ENV/queue", ""},
	{"POST", "/api/v1/leases/LEASE/cleanup/retry", ""},
	{"POST", "/api/v1/leases/LEASE/cleanup/force", `{"reason":"r"}`},
	{"POST", "/api/v1/leaks/LEAK/clear", `{"reason":"r"}`},
	{"GET", "/api/v1/leases/LEASE/events", ""},
	{"POST", "/api/v1/leases/LEASE/execs", `{"argv":["id"]}`},
	{"GET", "/api/v1/leases/LEASE/execs", ""},
	{"GET", "/api/v1/execs/EXEC", ""},
	{"POST", "/api/v1/execs/EXEC/kill", ""},
	{"GET", "/api/v1/execs/EXEC/output", ""},
}

func TestForeignIDLooksLikeAnUnknownOneOnEveryRoute(t *testing.T) {
	t.Parallel()
	s := start(t)
	owner, stranger := s.tenant("owner"), s.tenant("stranger")
	l := s.lease(owner, "run")
	x, err := owner.client.StartExec(t.Context(), l.ID, l.Fence, wire.StartExec{Argv: []string{"hang", "private output"}})
	require.NoError(t, err)
	k, err := owner.admin.AddKey(t.Context(), owner.company, wire.AddKey{Name: "ci", Role: "client"})
	require.NoError(t, err)
	hidden, err := owner.admin.AddSecret(t.Context(), owner.company, wire.AddSecret{Name: "s", Value: "value-of-owner"})
	require.NoError(t, err)
	s.settle(x.ID)
	probed, err := owner.operator.ProbeEnvironment(t.Context(), owner.env.ID, client.Wait(soon))
	require.NoError(t, err)
	stuck := s.stuck(owner, "a")
	_, err = owner.operator.ForceCleanup(t.Context(), stuck.ID, wire.ForceCleanup{Reason: "r"})
	require.NoError(t, err)
	left := s.leaks(owner.operator, client.LeakFilter{})[0].ID
	real := strings.NewReplacer("LEAK/", left.String()+"/", "COMPANY", owner.company.String(), "ENV", owner.env.ID.String(), "LEASE", l.ID.String(), "EXEC", x.ID.String(), "KEY", k.ID.String(), "PROBE", probed.ID.String(), "SECRET", hidden.ID.String())
	none := strings.NewReplacer("LEAK/", uuid.NewString()+"/", "COMPANY", uuid.NewString(), "ENV", uuid.NewString(), "LEASE", uuid.NewString(), "EXEC", uuid.NewString(), "KEY", uuid.NewString(), "PROBE", uuid.NewString(), "SECRET", uuid.NewString())
	before := s.head()
	for _, role := range access.Roles() {
		key := s.addKey(role, stranger.company)
		before++
		for _, r := range idRoutes {
			for _, accept := range []string{"application/json", "text/event-stream"} {
				foreign := s.problem(key, r.method, real.Replace(r.path), real.Replace(r.body), "Accept", accept)
				unknown := s.problem(key, r.method, none.Replace(r.path), none.Replace(r.body), "Accept", accept)
				foreign.RequestID, unknown.RequestID = "", ""
				require.Equal(t, 404, foreign.Status, "%s %s", r.method, r.path)
				require.Equal(t, unknown, foreign, "%s %s", r.method, r.path)
			}
		}
	}
	// Its own company, a foreign environment.
	p := s.problem(stranger.key, "POST", "/api/v1/companies/"+stranger.company.String()+"/leases", `{"environmentId":"`+owner.env.ID.String()+`","heartbeatRunId":"r"}`)
	require.Equal(t, "environment_not_found", p.Code)
	require.Equal(t, before, s.head(), "no event")
	require.NotContains(t, s.log.String(), "value-of-owner")
	require.Equal(t, 2, s.worker.runtimes())
	list, err := stranger.client.Leases(t.Context(), stranger.company, client.LeaseFilter{EnvironmentID: owner.env.ID})
	require.NoError(t, err)
	require.Empty(t, list.Items)
}

// settle waits until a command runs.
func (s *server) settle(exec uuid.UUID) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		x, err := s.admin.Exec(s.t.Context(), exec)
		return err == nil && x.Status == "running"
	}, time.Minute, 5*time.Millisecond)
}

func TestEveryRouteOfACompanyIsInTheTableOfForeignIDs(t *testing.T) {
	t.Parallel()
	tested := map[string]bool{}
	for _, r := range idRoutes {
		path := strings.NewReplacer("LEAK/", "{leakId}/", "COMPANY", "{companyId}", "ENV", "{environmentId}", "LEASE", "{leaseId}", "EXEC", "{execId}", "KEY", "{keyId}", "PROBE", "{probeId}", "SECRET", "{secretId}", "/versions/1/", "/versions/{version}/", "/runs/run/", "/runs/{heartbeatRunId}/").Replace(r.path)
		tested[r.method+" "+path] = true
	}
	for path, item := range openAPI(t).Paths.Map() {
		for method := range item.Operations() {
			nobodys := strings.Contains(path, "/plugin") || strings.Contains(path, "/nodes/") // no company owns a plugin or a node
			if strings.Contains(path, "Id}") && !nobodys {
				require.True(t, tested[method+" "+path], "%s %s", method, path)
			}
		}
	}
}

func TestNobodyIsLetInWithoutAKey(t *testing.T) {
	t.Parallel()
	s := start(t)
	for path, item := range openAPI(t).Paths.Map() {
		if path == "/api/health" || path == "/api/v1/openapi.yaml" {
			continue
		}
		for method := range item.Operations() {
			for _, key := range []string{"", "tnr_00000000000000000000000000000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"} {
				sent := parameterInDocument.ReplaceAllString(path, uuid.NewString())
				p := s.problem(key, method, sent, "")
				require.Equal(t, 401, p.Status, "%s %s", method, path)
				require.Equal(t, "unauthorized", p.Code)
			}
		}
	}
}

func TestRolesDoWhatTheirRowAllows(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	_, err := tn.auditor.ReleaseLease(t.Context(), l.ID, wire.Release{})
	require.True(t, client.IsCode(err, "forbidden"), "%v", err)
	_, err = tn.auditor.Lease(t.Context(), l.ID)
	require.NoError(t, err)
	_, err = tn.client.AddEnvironment(t.Context(), tn.company, wire.AddEnvironment{Name: "x", Driver: "local"})
	require.True(t, client.IsCode(err, "forbidden"), "%v", err)
	_, err = tn.operator.Workers(t.Context())
	require.True(t, client.IsCode(err, "company_key"), "%v", err)
	_, err = tn.admin.AddCompany(t.Context(), wire.AddCompany{Name: "x"})
	require.True(t, client.IsCode(err, "company_key"), "%v", err)
}

func TestEveryEventOfACallNamesItsActorKeyAndRequest(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	request := uuid.New()
	_, _, err := tn.client.AcquireLease(t.Context(), tn.company, tn.ask("slow"), client.RequestID(request))
	require.NoError(t, err)
	var found []string
	page, err := s.admin.Events(t.Context(), client.Page("", 1000))
	require.NoError(t, err)
	for _, e := range page.Items {
		if e.RequestID != nil && *e.RequestID == request {
			found = append(found, e.Name)
			require.NotNil(t, e.ActorID)
			require.NotNil(t, e.KeyID)
		}
		raw, err := json.Marshal(e.ActorID)
		require.NoError(t, err)
		require.NotContains(t, string(raw), "acme", "an opaque id")
	}
	require.Equal(t, []string{"LeaseRequested", "AdmissionGranted", "LeaseGranted"}, found, "one append: request and grant")
}
