package apitest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api"
	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
	"github.com/tenure-dev/tenure/eventstore"
)

func TestHealthIsOkOnlyWhileTheProcessCanServe(t *testing.T) {
	t.Parallel()
	s := start(t)
	h, err := s.client("").Health(t.Context())
	require.NoError(t, err)
	require.Equal(t, wire.Health{Status: "ok", Version: "test", Log: wire.LogInForce}, h)
	s.unhealthy.Store(true)
	_, err = s.client("").Health(t.Context())
	require.True(t, client.IsCode(err, "not_ready"), "%v", err)
	require.NotContains(t, err.Error(), "stands still")
	require.Contains(t, s.log.String(), "stands still")
}

func TestProjectionsAreListedAndRebuilt(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	s.lease(tn, "run")
	operator := s.client(s.addKey(access.RoleOperator, uuid.Nil))
	// A rebuild counts the rows where it was compared, which is where the live read model is.
	_, err := tn.client.Leases(t.Context(), tn.company, client.LeaseFilter{}, client.MinPosition(s.head()))
	require.NoError(t, err)

	done := map[string]wire.Rebuild{}
	for p, err := range operator.FollowRebuild(t.Context(), "leases") {
		require.NoError(t, err)
		done[p.Name] = p
	}
	require.Equal(t, wire.RebuildDone, done["leases"].State)
	require.EqualValues(t, 1, *done["leases"].Rows)
	require.Zero(t, *done["leases"].Differences)

	started, err := operator.RebuildProjection(t.Context(), "all")
	require.NoError(t, err)
	require.Contains(t, started.Projections, "active_leases")
	require.Eventually(t, func() bool {
		list, err := operator.Projections(t.Context())
		if err != nil {
			return false
		}
		for _, p := range list.Items {
			if p.Rebuild == nil || p.Rebuild.State != wire.RebuildDone || p.State != wire.ProjectionLive {
				return false
			}
		}
		return len(list.Items) == len(started.Projections)
	}, time.Minute, 10*time.Millisecond)

	parked, err := operator.Parked(t.Context(), "leases")
	require.NoError(t, err)
	require.Empty(t, parked.Items)
	err = operator.RetryParked(t.Context(), "leases", "lease-"+uuid.NewString())
	require.True(t, client.IsCode(err, "stream_not_parked"), "%v", err)
}

func TestParkedStreamIsListedRetriedAndSkipped(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	good := s.lease(tn, "run")
	// An event that no fold knows, as a newer program could write it.
	stream := eventstore.StreamOf("lease", uuid.New())
	_, err := s.store.Submit(eventstore.Append{
		ID: uuid.New(), Expect: []eventstore.Expectation{{Stream: stream, Expect: eventstore.NoStream}},
		Events: []eventstore.NewEvent{{Stream: stream, Name: "LeaseTeleported", Revision: 1, Company: domain.CompanyID{UUID: tn.company}, Payload: []byte(`{}`)}},
	}).Wait(t.Context())
	require.NoError(t, err)
	list, err := tn.client.Leases(t.Context(), tn.company, client.LeaseFilter{}, client.MinPosition(s.head()))
	require.NoError(t, err)
	require.Equal(t, good.ID, list.Items[0].ID, "the others go on")

	parked, err := s.admin.Parked(t.Context(), "leases")
	require.NoError(t, err)
	require.Len(t, parked.Items, 1)
	require.Equal(t, string(stream), parked.Items[0].Stream)
	require.Equal(t, "LeaseTeleported", parked.Items[0].Event)
	_, metrics := s.raw(s.adminKey, "GET", "/metrics", "")
	require.Contains(t, string(metrics), `tenure_projection_parked_streams{name="leases"} 1`)
	require.Contains(t, string(metrics), `tenure_projection_lag_events{name="leases"} 0`)
	err = s.admin.RetryParked(t.Context(), "leases", string(stream))
	require.True(t, client.IsCode(err, "still_fails"), "%v", err)
	require.NoError(t, s.admin.SkipParked(t.Context(), "leases", string(stream)))
	parked, err = s.admin.Parked(t.Context(), "leases")
	require.NoError(t, err)
	require.Empty(t, parked.Items)
	_, metrics = s.raw(s.adminKey, "GET", "/metrics", "")
	require.Contains(t, string(metrics), `tenure_projection_parked_streams{name="leases"} 0`)
	events, err := s.admin.Events(t.Context(), client.Page("", 1000))
	require.NoError(t, err)
	last := events.Items[len(events.Items)-1]
	require.Equal(t, "ReadModelEventSkipped", last.Name, "that a fact is left out is a fact")
	require.NotNil(t, last.ActorID)
	require.Contains(t, string(last.Data), string(stream))
}

func TestWorkersAreListed(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := eventstore.Process{ID: domain.WorkerID{UUID: uuid.New()}, Node: domain.NodeID{UUID: uuid.New()}, Hostname: "host", PID: 7, Version: "test", Role: eventstore.RoleWorker, Address: "host:7718"}
	require.NoError(t, s.store.Processes().Register(t.Context(), p, time.Minute))
	list, err := s.admin.Workers(t.Context())
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
	require.Equal(t, p.ID.UUID, list.Items[0].ID)
	require.True(t, list.Items[0].Alive)
	require.Equal(t, "worker", list.Items[0].Role)
	require.Equal(t, "host:7718", *list.Items[0].Address)
}

func TestMetricsCountCallsAndRefusalsWithoutIDs(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	_, err := tn.client.Lease(t.Context(), uuid.New())
	require.Error(t, err)
	s.raw(tn.key, "GET", "/api/v1/leases/"+l.ID.String()+"/nothing", "")
	resp, body := s.raw(s.adminKey, "GET", "/metrics", "")
	require.Equal(t, 200, resp.StatusCode)
	metrics := string(body)
	require.Contains(t, metrics, `tenure_http_requests_total{method="GET",route="/api/v1/leases/:leaseId",status="404"} 1`)
	require.Contains(t, metrics, `tenure_http_problems_total{code="lease_not_found"} 1`)
	require.Contains(t, metrics, `tenure_http_request_duration_seconds_count{method="POST",route="/api/v1/companies/:companyId/leases"} 1`)
	require.NotContains(t, metrics, l.ID.String())
	require.NotContains(t, metrics, tn.company.String())
	require.Equal(t, 401, s.problem("", "GET", "/metrics", "").Status)
	require.Equal(t, 403, s.problem(tn.key, "GET", "/metrics", "").Status)
}

func TestMetricsMayBeOpen(t *testing.T) {
	t.Parallel()
	s := start(t, func(d *api.Deps) { d.OpenMetrics = true })
	resp, _ := s.raw("", "GET", "/metrics", "")
	require.Equal(t, 200, resp.StatusCode)
}

func TestDocumentIsServed(t *testing.T) {
	t.Parallel()
	s := start(t)
	resp, body := s.raw("", "GET", "/api/v1/openapi.yaml", "")
	require.Equal(t, 200, resp.StatusCode)
	require.True(t, strings.HasPrefix(string(body), "openapi: 3.1"))
}

func TestReadModelThatStaysBehindIsAProblemToRepeat(t *testing.T) {
	t.Parallel()
	s := start(t, withLimits(api.Limits{ReadModelWait: 50 * time.Millisecond}))
	p := s.problem(s.adminKey, "GET", "/api/v1/companies?minPosition=1000000", "")
	require.Equal(t, 503, p.Status)
	require.Equal(t, "read_model_behind", p.Code)
	require.True(t, p.Retryable)
}
