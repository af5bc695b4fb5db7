package key_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/key"
)

func TestAKeyIsAddedOnceAndRevokedForGood(t *testing.T) {
	t.Parallel()
	want := domaintest.KeyAdded()
	added := domaintest.Given(t, key.Decider).When(key.Add{Added: want}).Then(want)
	require.Equal(t, key.State{Status: key.StatusActive, Key: want, AddedAt: time.Unix(1, 0).UTC()}, added.State())
	added.When(key.Add{Added: want}).Refused(domain.KindConflict, "key_exists", "")

	revoked := added.When(key.Revoke{}).Then(key.Revoked{})
	require.Equal(t, key.StatusRevoked, revoked.State().Status)
	require.Equal(t, time.Unix(2, 0).UTC(), revoked.State().RevokedAt)
	revoked.When(key.Revoke{}).Nothing()
	revoked.When(key.Add{Added: want}).Refused(domain.KindConflict, "key_exists", "")
}

func TestAKeyOfEveryCompanyNamesNone(t *testing.T) {
	t.Parallel()
	want := domaintest.KeyAdded()
	want.Company = domain.CompanyID{}
	domaintest.Given(t, key.Decider).When(key.Add{Added: want}).Then(want)
}

func TestAWrongKeyIsRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil       func(*key.Added)
		code, field string
	}{
		"no name":            {func(a *key.Added) { a.Name = "" }, "missing_field", "name"},
		"name of two lines":  {func(a *key.Added) { a.Name = "a\nb" }, "invalid_text", "name"},
		"no role":            {func(a *key.Added) { a.Role = "" }, "unknown_role", "role"},
		"role in capitals":   {func(a *key.Added) { a.Role = "Admin" }, "unknown_role", "role"},
		"the secret itself":  {func(a *key.Added) { a.Hash = "tnr_secret" }, "invalid_hash", "hash"},
		"hash in capitals":   {func(a *key.Added) { a.Hash = strings.Repeat("A", 64) }, "invalid_hash", "hash"},
		"no principal":       {func(a *key.Added) { a.Principal = domain.PrincipalID{} }, "missing_field", "principalId"},
		"hash with one more": {func(a *key.Added) { a.Hash += "0" }, "invalid_hash", "hash"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			added := domaintest.KeyAdded()
			tc.spoil(&added)
			r := domaintest.Given(t, key.Decider).When(key.Add{Added: added}).Refused(domain.KindInvalid, tc.code, tc.field)
			require.NotContains(t, r.Message+r.Remediation, "tnr_secret")
		})
	}
}

func TestAnUnknownKeyCannotBeRevoked(t *testing.T) {
	t.Parallel()
	r := domaintest.Given(t, key.Decider).When(key.Revoke{}).Refused(domain.KindNotFound, "key_not_found", "")
	require.Equal(t, *access.NotFound("key"), r)
}

func TestAnUnknownCommandIsRefused(t *testing.T) {
	t.Parallel()
	domaintest.Given(t, key.Decider).When(nil).Refused(domain.KindInvalid, "unknown_command", "")
}
