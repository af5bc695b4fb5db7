package environment_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/environment"
)

func registered(t *testing.T) domaintest.Scenario[environment.State, environment.Command, environment.Event] {
	t.Helper()
	return domaintest.Given[environment.State, environment.Command, environment.Event](
		t, environment.Decider, domaintest.EnvironmentRegistered())
}

func TestAnEnvironmentIsRegisteredOnce(t *testing.T) {
	t.Parallel()
	want := domaintest.EnvironmentRegistered()
	after := domaintest.Given(t, environment.Decider).When(environment.Register{Registered: want}).Then(want)
	require.Equal(t, environment.State{
		Status: environment.StatusActive, Company: want.Company, Name: want.Name, Description: want.Description,
		Driver: want.Driver, Config: want.Config, EnvVars: want.EnvVars, MaxLeases: want.MaxLeases, Metadata: want.Metadata,
		MaxTTLMs: want.MaxTTLMs, CreatedAt: time.Unix(1, 0).UTC(), UpdatedAt: time.Unix(1, 0).UTC(),
	}, after.State())
	after.When(environment.Register{Registered: want}).Refused(domain.KindConflict, "environment_exists", "")
}

func TestWithoutAConfigItHasTheEmptyOne(t *testing.T) {
	t.Parallel()
	given := domaintest.EnvironmentRegistered()
	given.Config, given.Metadata, given.EnvVars, given.Description, given.MaxLeases = nil, nil, nil, "", 0
	want := given
	want.Config = json.RawMessage(`{}`)
	domaintest.Given(t, environment.Decider).When(environment.Register{Registered: given}).Then(want)
}

func TestReconfiguringSetsEverything(t *testing.T) {
	t.Parallel()
	settings := environment.Reconfigured{Name: "other", Driver: "fake", Config: json.RawMessage(`{"a":1}`), MaxLeases: 1}
	after := registered(t).When(environment.Reconfigure{Reconfigured: settings}).Then(settings)
	require.Equal(t, settings, after.State().Settings())
	require.Equal(t, domaintest.Company, after.State().Company)
	require.Equal(t, time.Unix(1, 0).UTC(), after.State().CreatedAt)
	require.Equal(t, time.Unix(2, 0).UTC(), after.State().UpdatedAt)
}

func TestReconfiguringToWhatItIsChangesNothing(t *testing.T) {
	t.Parallel()
	given := registered(t)
	settings := given.State().Settings()
	given.When(environment.Reconfigure{Reconfigured: settings}).Nothing()
	settings.Config = json.RawMessage("{ \"root\" : \"\\u002fsrv\" }")
	given.When(environment.Reconfigure{Reconfigured: settings}).Nothing()
}

func TestEverySettingCounts(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*environment.Reconfigured){
		"name":        func(r *environment.Reconfigured) { r.Name = "x" },
		"description": func(r *environment.Reconfigured) { r.Description = "x" },
		"driver":      func(r *environment.Reconfigured) { r.Driver = "x" },
		"config":      func(r *environment.Reconfigured) { r.Config = json.RawMessage(`{"root":"/x"}`) },
		"envVars":     func(r *environment.Reconfigured) { r.EnvVars = map[string]domain.EnvValue{"LANG": {Plain: "x"}} },
		"maxLeases":   func(r *environment.Reconfigured) { r.MaxLeases = 5 },
		"metadata":    func(r *environment.Reconfigured) { r.Metadata = nil },
		"maxQueued":   func(r *environment.Reconfigured) { r.MaxQueued = new(int) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			given := registered(t)
			settings := given.State().Settings()
			change(&settings)
			given.When(environment.Reconfigure{Reconfigured: settings}).Then(settings)
		})
	}
}

func TestAnArchivedEnvironmentStaysAsItIs(t *testing.T) {
	t.Parallel()
	archived := registered(t).When(environment.Archive{}).Then(environment.Archived{})
	require.Equal(t, environment.StatusArchived, archived.State().Status)
	archived.When(environment.Archive{}).Nothing()
	archived.When(environment.Reconfigure{Reconfigured: archived.State().Settings()}).
		Refused(domain.KindConflict, "environment_archived", "")
	archived.When(environment.Register{Registered: domaintest.EnvironmentRegistered()}).
		Refused(domain.KindConflict, "environment_exists", "")
}

func TestARetiringEnvironmentEndsAsItWasAsked(t *testing.T) {
	t.Parallel()
	archiving := registered(t).When(environment.Retire{}).Then(environment.RetirementRequested{})
	require.Equal(t, environment.StatusArchiving, archiving.State().Status)
	require.True(t, archiving.State().Status.Retiring())
	archiving.When(environment.Retire{}).Nothing()
	archiving.When(environment.Reconfigure{Reconfigured: archiving.State().Settings()}).Refused(domain.KindConflict, "environment_archiving", "")
	archiving.When(environment.Archive{}).Then(environment.Archived{}).When(environment.Retire{}).Nothing()

	deleting := archiving.When(environment.Retire{Delete: true}).Then(environment.RetirementRequested{Delete: true})
	deleting.When(environment.Retire{Delete: true}).Nothing()
	deleting.When(environment.Retire{}).Refused(domain.KindConflict, "environment_deleting", "")
	deleting.When(environment.Archive{}).Refused(domain.KindConflict, "environment_deleting", "")
	deleted := deleting.When(environment.Delete{}).Then(environment.Deleted{})
	require.False(t, deleted.State().Status.Retiring())
	deleted.When(environment.Delete{}).Nothing()
	deleted.When(environment.Retire{Delete: true}).Refused(domain.KindConflict, "environment_deleted", "")
	deleted.When(environment.Archive{}).Refused(domain.KindConflict, "environment_deleted", "")
}

func TestAnEnvironmentOfAnyStatusCanBeDeleted(t *testing.T) {
	t.Parallel()
	registered(t).When(environment.Delete{}).Then(environment.Deleted{})
	registered(t).When(environment.Archive{}).Then(environment.Archived{}).When(environment.Delete{}).Then(environment.Deleted{})
}

func TestWrongSettingsAreRefusedWhenRegisteredAndWhenChanged(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil       func(*environment.Reconfigured)
		code, field string
	}{
		"no name":            {func(r *environment.Reconfigured) { r.Name = "" }, "missing_field", "name"},
		"NUL in name":        {func(r *environment.Reconfigured) { r.Name = "a\x00b" }, "invalid_text", "name"},
		"long name":          {func(r *environment.Reconfigured) { r.Name = strings.Repeat("x", 101) }, "text_too_long", "name"},
		"long description":   {func(r *environment.Reconfigured) { r.Description = strings.Repeat("x", 1001) }, "text_too_long", "description"},
		"no driver":          {func(r *environment.Reconfigured) { r.Driver = "" }, "missing_field", "driver"},
		"driver of lines":    {func(r *environment.Reconfigured) { r.Driver = "a\nb" }, "invalid_text", "driver"},
		"config of null":     {func(r *environment.Reconfigured) { r.Config = json.RawMessage(`null`) }, "invalid_json", "config"},
		"NUL in config":      {func(r *environment.Reconfigured) { r.Config = json.RawMessage(`{"a":"\u0000"}`) }, "invalid_text", "config"},
		"variable with =":    {func(r *environment.Reconfigured) { r.EnvVars = map[string]domain.EnvValue{"A=B": {Plain: ""}} }, "invalid_env_name", "envVars.A=B"},
		"NUL in variable":    {func(r *environment.Reconfigured) { r.EnvVars = map[string]domain.EnvValue{"A": {Plain: "\x00"}} }, "invalid_text", "envVars.A"},
		"negative maxTtl":    {func(r *environment.Reconfigured) { r.MaxTTLMs = -1 }, "invalid_duration", "maxTtl"},
		"endless maxTtl":     {func(r *environment.Reconfigured) { r.MaxTTLMs = 1 << 62 }, "invalid_duration", "maxTtl"},
		"negative maxLeases": {func(r *environment.Reconfigured) { r.MaxLeases = -1 }, "invalid_capacity", "maxLeases"},
		"negative maxQueued": {func(r *environment.Reconfigured) { n := -1; r.MaxQueued = &n }, "invalid_queue_limit", "maxQueued"},
		"huge maxQueued":     {func(r *environment.Reconfigured) { n := 1 << 40; r.MaxQueued = &n }, "invalid_queue_limit", "maxQueued"},
		"metadata of a list": {func(r *environment.Reconfigured) { r.Metadata = json.RawMessage(`[]`) }, "invalid_json", "metadata"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			given := registered(t)
			s := given.State().Settings()
			tc.spoil(&s)
			given.When(environment.Reconfigure{Reconfigured: s}).Refused(domain.KindInvalid, tc.code, tc.field)
			domaintest.Given(t, environment.Decider).When(environment.Register{Registered: environment.Registered{
				Company: domaintest.Company, Name: s.Name, Description: s.Description, Driver: s.Driver, Config: s.Config,
				EnvVars: s.EnvVars, MaxLeases: s.MaxLeases, Metadata: s.Metadata, MaxQueued: s.MaxQueued, MaxTTLMs: s.MaxTTLMs,
			}}).Refused(domain.KindInvalid, tc.code, tc.field)
		})
	}
	nobodys := domaintest.EnvironmentRegistered()
	nobodys.Company = domain.CompanyID{}
	domaintest.Given(t, environment.Decider).When(environment.Register{Registered: nobodys}).
		Refused(domain.KindInvalid, "missing_field", "companyId")
}

func TestAnUnknownEnvironmentIsNotFound(t *testing.T) {
	t.Parallel()
	for _, command := range []environment.Command{environment.Reconfigure{}, environment.Archive{}} {
		r := domaintest.Given(t, environment.Decider).When(command).Refused(domain.KindNotFound, "environment_not_found", "")
		require.Equal(t, *access.NotFound("environment"), r)
	}
}

func TestAnUnknownCommandIsRefused(t *testing.T) {
	t.Parallel()
	registered(t).When(nil).Refused(domain.KindInvalid, "unknown_command", "")
}
