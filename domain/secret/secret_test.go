package secret_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/secret"
)

func added(t *testing.T) domaintest.Scenario[secret.State, secret.Command, secret.Event] {
	t.Helper()
	want := domaintest.SecretAdded()
	return domaintest.Given(t, secret.Decider).When(secret.Add{Added: want}).Then(want, secret.VersionAdded{Version: 1})
}

// pick is the version that a reference means, or the code of the refusal.
func pick(t require.TestingT, s secret.State, version int) (int, string) {
	n, err := s.Pick(domain.SecretRef{Secret: domaintest.Secret, Version: version})
	if err == nil {
		return n, ""
	}
	r, ok := errors.AsType[*domain.Refusal](err)
	require.True(t, ok)
	require.NotEmpty(t, r.Remediation)
	require.Contains(t, r.Message, domaintest.Secret.String(), "it names the secret")
	return 0, r.Code
}

func TestASecretBeginsWithItsFirstVersion(t *testing.T) {
	t.Parallel()
	given := added(t)
	at1, at2 := time.Unix(1, 0).UTC(), time.Unix(2, 0).UTC()
	require.Equal(t, secret.State{
		Status: secret.StatusActive, Company: domaintest.Company, Name: "deploy key", Description: "for the build hosts",
		Versions: []secret.Version{{Number: 1, Status: secret.StatusActive, AddedAt: at2, ChangedAt: at2}}, AddedAt: at1, UpdatedAt: at2,
	}, given.State())
	given.When(secret.Add{Added: domaintest.SecretAdded()}).Refused(domain.KindConflict, "secret_exists", "")
	n, _ := pick(t, given.State(), 0)
	require.Equal(t, 1, n)
}

func TestTheLatestIsTheNewestWhateverBecameOfIt(t *testing.T) {
	t.Parallel()
	given := added(t).When(secret.AddVersion{}).Then(secret.VersionAdded{Version: 2})
	n, _ := pick(t, given.State(), 0)
	require.Equal(t, 2, n)
	n, _ = pick(t, given.State(), 1)
	require.Equal(t, 1, n, "an older one stays usable by its number")

	disabled := given.When(secret.Disable{Version: 2}).Then(secret.VersionDisabled{Version: 2})
	disabled.When(secret.Disable{Version: 2}).Nothing()
	_, code := pick(t, disabled.State(), 0)
	require.Equal(t, "secret_version_disabled", code, "no older value in its place")
	_, code = pick(t, disabled.State(), 2)
	require.Equal(t, "secret_version_disabled", code)
	_, code = pick(t, disabled.State(), 3)
	require.Equal(t, "secret_version_not_found", code)

	enabled := disabled.When(secret.Enable{Version: 2}).Then(secret.VersionEnabled{Version: 2})
	enabled.When(secret.Enable{Version: 2}).Nothing()
	n, _ = pick(t, enabled.State(), 0)
	require.Equal(t, 2, n)

	destroyed := enabled.When(secret.DestroyVersion{Version: 2}).Then(secret.VersionDestroyed{Version: 2})
	destroyed.When(secret.DestroyVersion{Version: 2}).Nothing()
	_, code = pick(t, destroyed.State(), 0)
	require.Equal(t, "secret_version_destroyed", code)
	destroyed.When(secret.Enable{Version: 2}).Refused(domain.KindConflict, "secret_version_destroyed", "")
	destroyed.When(secret.Disable{Version: 2}).Refused(domain.KindConflict, "secret_version_destroyed", "")
	destroyed.When(secret.AddVersion{}).Then(secret.VersionAdded{Version: 3})
}

func TestADestroyedSecretHasNoValuesAndTakesNone(t *testing.T) {
	t.Parallel()
	gone := added(t).When(secret.AddVersion{}).Then(secret.VersionAdded{Version: 2}).When(secret.Destroy{}).Then(secret.Destroyed{})
	gone.When(secret.Destroy{}).Nothing()
	gone.When(secret.AddVersion{}).Refused(domain.KindConflict, "secret_destroyed", "")
	gone.When(secret.Enable{Version: 1}).Refused(domain.KindConflict, "secret_version_destroyed", "")
	gone.When(secret.Add{Added: domaintest.SecretAdded()}).Refused(domain.KindConflict, "secret_exists", "")
	for _, v := range gone.State().Versions {
		require.Equal(t, secret.StatusDestroyed, v.Status)
	}
	_, code := pick(t, gone.State(), 1)
	require.Equal(t, "secret_destroyed", code)
}

func TestAWrongSecretIsRefused(t *testing.T) {
	t.Parallel()
	for field, spoil := range map[string]func(*secret.Added){
		"companyId":   func(a *secret.Added) { a.Company = domain.CompanyID{} },
		"name":        func(a *secret.Added) { a.Name = " " },
		"description": func(a *secret.Added) { a.Description = "a\x00" },
	} {
		s := domaintest.SecretAdded()
		spoil(&s)
		_, err := secret.Decide(secret.State{}, secret.Add{Added: s})
		r, ok := errors.AsType[*domain.Refusal](err)
		require.True(t, ok, field)
		require.Equal(t, field, r.Field)
	}
	for _, version := range []int{-1, 0, 2} {
		added(t).When(secret.Disable{Version: version}).Refused(domain.KindNotFound, "secret_version_not_found", "version")
	}
	for _, command := range []secret.Command{secret.AddVersion{}, secret.Disable{Version: 1}, secret.DestroyVersion{Version: 1}, secret.Destroy{}} {
		domaintest.Given(t, secret.Decider).When(command).Refused(domain.KindNotFound, "secret_not_found", "")
	}
	added(t).When(nil).Refused(domain.KindInvalid, "unknown_command", "")
}

func TestNoCommandsBringADestroyedValueBackOrChangeAStateInPlace(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s, at := secret.State{}, domain.Meta{}
		gone := map[int]bool{}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			version := rapid.IntRange(1, 4).Draw(t, "version")
			events, err := secret.Decide(s, rapid.SampledFrom([]secret.Command{
				secret.Add{Added: domaintest.SecretAdded()}, secret.AddVersion{}, secret.AddVersion{}, secret.Disable{Version: version},
				secret.Enable{Version: version}, secret.DestroyVersion{Version: version}, secret.Destroy{},
			}).Draw(t, "command"))
			if err != nil {
				require.Empty(t, events)
			}
			for _, e := range events {
				before := append([]secret.Version(nil), s.Versions...)
				next := secret.Evolve(s, e, at)
				require.Equal(t, before, append([]secret.Version(nil), s.Versions...))
				s = next
			}
			for i, v := range s.Versions {
				require.Equal(t, i+1, v.Number)
				if gone[v.Number] {
					require.Equal(t, secret.StatusDestroyed, v.Status)
				}
				gone[v.Number] = v.Status == secret.StatusDestroyed
				n, code := pick(t, s, v.Number)
				require.Equal(t, v.Status == secret.StatusActive && s.Status == secret.StatusActive, code == "" && n == v.Number)
			}
		}
	})
}
