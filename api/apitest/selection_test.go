package apitest_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api"
	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

// env adds an environment to a tenant's company.
func (s *server) env(tn tenant, name, driver string) uuid.UUID {
	s.t.Helper()
	env, err := tn.operator.AddEnvironment(s.t.Context(), tn.company, wire.AddEnvironment{Name: name, Driver: driver})
	require.NoError(s.t, err)
	return env.ID
}

func (s *server) archive(tn tenant, env uuid.UUID) {
	s.t.Helper()
	_, err := tn.operator.ArchiveEnvironment(s.t.Context(), env, wire.RetireEnvironment{Force: true})
	require.NoError(s.t, err)
}

func (s *server) makeDefault(tn tenant, env uuid.UUID) {
	s.t.Helper()
	_, err := tn.operator.PatchCompany(s.t.Context(), tn.company, map[string]any{"defaultEnvironmentId": env})
	require.NoError(s.t, err)
}

// selected asks for a lease without an environment, and checks that all that shows the lease says the same.
func (s *server) selected(tn tenant, from *wire.SelectFrom) wire.Selection {
	s.t.Helper()
	acquired, ready, err := tn.client.AcquireLease(s.t.Context(), tn.company, wire.AcquireLease{HeartbeatRunID: "run", Selection: from}, client.Wait(time.Minute))
	require.NoError(s.t, err)
	require.True(s.t, ready)
	require.NotNil(s.t, acquired.Selection)
	require.Equal(s.t, acquired.Selection.EnvironmentID, acquired.Environment.ID)
	require.Equal(s.t, acquired.Selection.EnvironmentID, acquired.Lease.EnvironmentID)
	require.NotEmpty(s.t, acquired.Selection.Reason)
	lease, err := tn.client.Lease(s.t.Context(), acquired.Lease.ID)
	require.NoError(s.t, err)
	require.Equal(s.t, acquired.Selection, lease.Selection)
	for _, status := range []string{"", wire.LeaseActive} { // two read models
		list, err := tn.client.Leases(s.t.Context(), tn.company, client.LeaseFilter{Status: status}, client.MinPosition(acquired.Position))
		require.NoError(s.t, err)
		require.Equal(s.t, acquired.Selection, list.Items[0].Selection)
	}
	return *acquired.Selection
}

func TestRequestWithoutAnEnvironmentGetsTheStrongestThatIsNamed(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	named, _, err := tn.client.AcquireLease(t.Context(), tn.company, tn.ask("run"))
	require.NoError(t, err)
	require.Nil(t, named.Selection)
	require.Nil(t, named.Lease.Selection)

	require.Equal(t, wire.Selection{EnvironmentID: tn.env.ID, Level: "local", Reason: "it is the company's first environment with the driver local, " +
		"the issue names none, the project names none, the agent names none, the company has no default"}, s.selected(tn, nil))
	issue, project, agent, company := s.env(tn, "issue", "local"), s.env(tn, "project", "local"), s.env(tn, "agent", "local"), s.env(tn, "company", "local")
	require.Equal(t, tn.env.ID, s.selected(tn, &wire.SelectFrom{}).EnvironmentID, "the first of several")
	s.makeDefault(tn, company)
	from := &wire.SelectFrom{}
	for _, next := range []struct {
		level string
		env   uuid.UUID
		name  func(*uuid.UUID)
	}{
		{"company", company, func(*uuid.UUID) {}},
		{"agent", agent, func(id *uuid.UUID) { from.AgentEnvironmentID = id }},
		{"project", project, func(id *uuid.UUID) { from.ProjectEnvironmentID = id }},
		{"issue", issue, func(id *uuid.UUID) { from.IssueEnvironmentID = id }},
	} {
		next.name(&next.env)
		got := s.selected(tn, from)
		require.Equal(t, next.level, got.Level)
		require.Equal(t, next.env, got.EnvironmentID)
	}
}

func TestSelectionIsRecordedWithTheRequest(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	acquired, _, err := tn.client.AcquireLease(t.Context(), tn.company, wire.AcquireLease{HeartbeatRunID: "run"})
	require.NoError(t, err)
	events, err := tn.client.LeaseEvents(t.Context(), acquired.Lease.ID)
	require.NoError(t, err)
	require.Equal(t, "LeaseRequested", events.Items[0].Name)
	require.Equal(t, 1, events.Items[0].Revision)
	var data struct {
		EnvironmentID uuid.UUID
		Selection     struct{ Level, Reason string }
	}
	require.NoError(t, json.Unmarshal(events.Items[0].Data, &data))
	require.Equal(t, tn.env.ID, data.EnvironmentID)
	require.Equal(t, "local", data.Selection.Level)
	require.Equal(t, acquired.Selection.Reason, data.Selection.Reason)
}

func TestRepeatedRequestKeepsItsChoice(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	ask := wire.AcquireLease{HeartbeatRunID: "run"}
	first, _, err := tn.client.AcquireLease(t.Context(), tn.company, ask, client.IdempotencyKey("k"))
	require.NoError(t, err)
	s.makeDefault(tn, s.env(tn, "other", "local"))
	second, _, err := tn.client.AcquireLease(t.Context(), tn.company, ask, client.IdempotencyKey("k"))
	require.NoError(t, err)
	require.Equal(t, first.Lease.ID, second.Lease.ID)
	require.Equal(t, first.Selection, second.Selection)
}

func TestWhatCannotBeUsedIsPassedOverUnlessTheIssueNamesIt(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn, other := s.tenant("acme"), s.tenant("other")
	archived, unknown := s.env(tn, "old", "local"), uuid.New()
	s.makeDefault(tn, archived)
	s.archive(tn, archived)
	got := s.selected(tn, &wire.SelectFrom{ProjectEnvironmentID: &archived, AgentEnvironmentID: &other.env.ID})
	require.Equal(t, wire.Selection{EnvironmentID: tn.env.ID, Level: "local", Reason: "it is the company's first environment with the driver local, " +
		"the issue names none, the project's is archived, the agent's does not exist, the company has no default"}, got)

	before := s.head()
	path := "/api/v1/companies/" + tn.company.String() + "/leases"
	for env, want := range map[uuid.UUID]wire.Problem{
		archived: {Status: 409, Code: "environment_archived"}, other.env.ID: {Status: 404, Code: "environment_not_found"}, unknown: {Status: 404, Code: "environment_not_found"},
	} {
		p := s.problem(tn.key, "POST", path, `{"heartbeatRunId":"r","selection":{"issueEnvironmentId":"`+env.String()+`"}}`)
		require.Equal(t, want, wire.Problem{Status: p.Status, Code: p.Code})
		require.Equal(t, "selection.issueEnvironmentId", p.Field)
		require.NotEmpty(t, p.Remediation)
	}
	for body, field := range map[string]string{
		`{"heartbeatRunId":"r","selection":{"issue":"x"}}`:                                      "selection.issue",
		`{"heartbeatRunId":"r","selection":{"agentEnvironmentId":"x"}}`:                         "selection",
		`{"heartbeatRunId":"r","selection":{"agentEnvironmentId":"` + uuid.Nil.String() + `"}}`: "selection.agentEnvironmentId",
		`{"heartbeatRunId":"r","selection":[]}`:                                                 "selection",
		`{"heartbeatRunId":"r","environmentId":"` + tn.env.ID.String() + `","selection":{}}`:    "selection",
		`{"heartbeatRunId":"r","environmentId":"` + uuid.Nil.String() + `"}`:                    "environmentId",
		`{"selection":{}}`: "heartbeatRunId",
	} {
		p := s.problem(tn.key, "POST", path, body)
		require.Equal(t, 400, p.Status, body)
		require.Equal(t, field, p.Field, body)
	}
	require.Equal(t, before, s.head(), "no event")
}

func TestFakeEnvironmentIsSelectedOnlyWhereTheServerAllowsIt(t *testing.T) {
	t.Parallel()
	for _, allowed := range []bool{false, true} {
		s := start(t, func(d *api.Deps) { d.AllowFakeSelection = allowed })
		tn := s.tenant("acme")
		fake := s.env(tn, "fake", "fake")
		s.makeDefault(tn, fake)
		acquired, _, err := tn.client.AcquireLease(t.Context(), tn.company, wire.AcquireLease{EnvironmentID: fake, HeartbeatRunID: "named"})
		require.NoError(t, err)
		require.Equal(t, fake, acquired.Environment.ID, "by name it is always there")
		got := s.selected(tn, &wire.SelectFrom{AgentEnvironmentID: &fake})
		path := "/api/v1/companies/" + tn.company.String() + "/leases"
		body := `{"heartbeatRunId":"r","selection":{"issueEnvironmentId":"` + fake.String() + `"}}`
		if allowed {
			require.Equal(t, fake, got.EnvironmentID)
			require.Equal(t, "agent", got.Level)
			continue
		}
		require.Equal(t, tn.env.ID, got.EnvironmentID)
		require.Contains(t, got.Reason, "the agent's has the provider fake, the company's default has the provider fake")
		require.Equal(t, "environment_fake", s.problem(tn.key, "POST", path, body).Code)
	}
}

func TestWithoutAnyEnvironmentTheProblemSaysWhatToDo(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	s.archive(tn, tn.env.ID)
	_, _, err := tn.client.AcquireLease(t.Context(), tn.company, wire.AcquireLease{HeartbeatRunID: "run"})
	require.True(t, client.IsCode(err, "no_environment"), "%v", err)
	p := s.problem(tn.key, "POST", "/api/v1/companies/"+tn.company.String()+"/leases", `{"heartbeatRunId":"r"}`)
	require.Equal(t, 409, p.Status)
	require.True(t, strings.Contains(p.Remediation, "environmentId") && strings.Contains(p.Remediation, "default"), p.Remediation)

	// One that was added a moment ago is found, though lists are behind the log.
	added := s.env(tn, "new", "local")
	require.Equal(t, added, s.selected(tn, nil).EnvironmentID)
}
