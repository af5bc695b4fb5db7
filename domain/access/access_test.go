package access_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
	"github.com/tenure-dev/tenure/domain/domaintest"
)

var (
	acme  = domaintest.ID[domain.CompanyID](1)
	other = domaintest.ID[domain.CompanyID](2)
)

// wanted says for each action which of client, auditor, operator and admin may do it (c a o A), and what a company's key
// may: own = only its company's, filtered = its company's part of it, none.
var wanted = map[access.Action]struct{ roles, scoped, noun string }{
	access.CompanyAdd:          {"---A", "none", "company"},
	access.CompanyList:         {"caoA", "filtered", "company"},
	access.CompanyChange:       {"--oA", "own", "company"},
	access.KeyAdd:              {"---A", "own", "company"},
	access.KeyList:             {"---A", "own", "company"},
	access.KeyRevoke:           {"---A", "own", "key"},
	access.EnvironmentRegister: {"--oA", "own", "company"},
	access.EnvironmentList:     {"caoA", "own", "company"},
	access.EnvironmentRead:     {"caoA", "own", "environment"},
	access.EnvironmentChange:   {"--oA", "own", "environment"},
	access.EnvironmentArchive:  {"--oA", "own", "environment"},
	access.EnvironmentDelete:   {"--oA", "own", "environment"},
	access.EnvironmentProbe:    {"--oA", "own", "environment"},
	access.SettingsProbe:       {"--oA", "own", "company"},
	access.ProbeRead:           {"caoA", "own", "probe"},
	access.SecretAdd:           {"--oA", "own", "company"},
	access.SecretList:          {"-aoA", "own", "company"},
	access.SecretSee:           {"-aoA", "own", "secret"},
	access.SecretRotate:        {"--oA", "own", "secret"},
	access.SecretSwitch:        {"--oA", "own", "secret"},
	access.SecretDestroy:       {"--oA", "own", "secret"},
	access.SecretReads:         {"-aoA", "own", "secret"},
	access.LeaseAcquire:        {"c-oA", "own", "company"},
	access.LeaseList:           {"caoA", "own", "company"},
	access.LeaseRead:           {"caoA", "own", "lease"},
	access.LeaseRelease:        {"c-oA", "own", "lease"},
	access.LeaseCancel:         {"c-oA", "own", "lease"},
	access.LeaseRenew:          {"c-oA", "own", "lease"},
	access.RunRelease:          {"c-oA", "own", "company"},
	access.LeaseCleanup:        {"--oA", "own", "lease"},
	access.LeakList:            {"-aoA", "filtered", "leak"},
	access.LeakClear:           {"--oA", "own", "leak"},
	access.BalanceRead:         {"-aoA", "none", ""},
	access.ExecStart:           {"c-oA", "own", "lease"},
	access.ExecList:            {"caoA", "own", "lease"},
	access.ExecRead:            {"caoA", "own", "exec"},
	access.ExecKill:            {"c-oA", "own", "exec"},
	access.PluginRead:          {"caoA", "filtered", "plugin"},
	access.PluginManage:        {"---A", "none", "plugin"},
	access.ProjectionRead:      {"-aoA", "none", ""},
	access.ProjectionRebuild:   {"--oA", "none", ""},
	access.ProjectionPark:      {"--oA", "none", ""},
	access.LogRead:             {"-aoA", "filtered", ""},
	access.LogShow:             {"-aoA", "none", ""},
	access.LogAdopt:            {"---A", "none", ""},
	access.WorkerRead:          {"-aoA", "none", ""},
	access.MetricsRead:         {"-aoA", "none", ""},
	access.ClockRead:           {"-aoA", "none", ""},
	access.ClockConfirm:        {"--oA", "none", ""},
	access.NodeList:            {"-aoA", "none", ""},
	access.NodeForget:          {"--oA", "none", "node"},
}

func may(t *testing.T, p access.Principal, a access.Action, owner domain.CompanyID) (domain.Kind, bool) {
	t.Helper()
	err := access.Can(p, a, owner)
	if err == nil {
		return "", true
	}
	r, ok := errors.AsType[*domain.Refusal](err)
	require.True(t, ok)
	return r.Kind, false
}

func TestEveryActionForEveryRoleAndScope(t *testing.T) {
	t.Parallel()
	require.Len(t, wanted, len(access.Actions()), "every action has its line")
	for _, action := range access.Actions() {
		want, ok := wanted[action]
		require.True(t, ok, "%s has no line", action)
		require.Equal(t, want.noun, action.Noun(), action)
		require.Equal(t, want.scoped == "filtered", action.Filtered(), action)
		for i, role := range access.Roles() {
			allowed := want.roles[i] != '-'

			_, can := may(t, access.Principal{Role: role}, action, acme)
			require.Equal(t, allowed, can, "%s by an unscoped %s", action, role)

			kind, can := may(t, access.Principal{Role: role, Company: acme}, action, acme)
			require.Equal(t, allowed && want.scoped != "none", can, "%s by a %s of the company", action, role)
			if !can {
				require.Equal(t, domain.KindForbidden, kind, "%s by a %s of the company", action, role)
			}

			kind, can = may(t, access.Principal{Role: role, Company: acme}, action, other)
			require.Equal(t, allowed && want.scoped == "filtered", can, "%s by a %s of another company", action, role)
			if want.scoped == "own" {
				require.Equal(t, domain.KindNotFound, kind, "%s by a %s of another company", action, role)
			}
		}
	}
}

func TestAForeignThingLooksExactlyLikeAnUnknownOne(t *testing.T) {
	t.Parallel()
	p := access.Principal{Role: access.RoleAdmin, Company: acme}
	for _, action := range access.Actions() {
		if wanted[action].scoped == "own" {
			require.Equal(t, access.NotFound(action.Noun()), access.Can(p, action, other))
			require.Equal(t, access.NotFound(action.Noun()), access.Can(p, action, domain.CompanyID{}), "what no company owns")
		}
	}
}

func TestTheRefusalNamesTheRolesThatMay(t *testing.T) {
	t.Parallel()
	r, ok := errors.AsType[*domain.Refusal](access.Can(access.Principal{Role: access.RoleAuditor, Company: acme}, access.LeaseAcquire, acme))
	require.True(t, ok)
	require.Equal(t, "forbidden", r.Code)
	require.Equal(t, "lease.acquire needs the role client, operator or admin, and this key has auditor", r.Message)
	require.Equal(t, "use a key with the role client, operator or admin", r.Remediation)
}

func TestACompanysKeyLearnsThatAnotherKeyIsNeeded(t *testing.T) {
	t.Parallel()
	r, ok := errors.AsType[*domain.Refusal](access.Can(access.Principal{Role: access.RoleAdmin, Company: acme}, access.ProjectionRebuild, acme))
	require.True(t, ok)
	require.Equal(t, domain.KindForbidden, r.Kind)
	require.Equal(t, "company_key", r.Code)
	require.Contains(t, r.Remediation, "not scoped to a company")
}

func TestWhatIsNotInTheTableMayNobodyDo(t *testing.T) {
	t.Parallel()
	kind, can := may(t, access.Principal{Role: access.RoleAdmin}, "engine.detonate", acme)
	require.False(t, can)
	require.Equal(t, domain.KindForbidden, kind)

	kind, can = may(t, access.Principal{Role: "root"}, access.LeaseRead, acme)
	require.False(t, can)
	require.Equal(t, domain.KindForbidden, kind)
}

func TestRolesAreSpelledForPeople(t *testing.T) {
	t.Parallel()
	require.Empty(t, access.Names(nil))
	require.Equal(t, "admin", access.Names([]access.Role{access.RoleAdmin}))
	require.Equal(t, "client, auditor, operator or admin", access.Names(access.Roles()))
	require.True(t, access.RoleClient.Known())
	require.False(t, access.Role("Client").Known())
}
