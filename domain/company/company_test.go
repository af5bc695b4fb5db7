package company_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/company"
	"github.com/tenure-dev/tenure/domain/domaintest"
)

func TestACompanyIsAddedOnce(t *testing.T) {
	t.Parallel()
	added := domaintest.Given(t, company.Decider).
		When(company.Add{Name: "Acme"}).
		Then(company.Added{Name: "Acme"})
	require.Equal(t, company.State{Known: true, Name: "Acme", AddedAt: time.Unix(1, 0).UTC()}, added.State())
	added.When(company.Add{Name: "Acme"}).Refused(domain.KindConflict, "company_exists", "")
}

func TestACompanyNeedsAName(t *testing.T) {
	t.Parallel()
	given := domaintest.Given(t, company.Decider)
	given.When(company.Add{}).Refused(domain.KindInvalid, "missing_field", "name")
	given.When(company.Add{Name: "A\x00"}).Refused(domain.KindInvalid, "invalid_text", "name")
}

func TestTheDefaultEnvironmentIsSetAndTakenBack(t *testing.T) {
	t.Parallel()
	none := domain.EnvironmentID{}
	added := domaintest.Given[company.State, company.Command, company.Event](t, company.Decider, company.Added{Name: "Acme"})
	added.When(company.SetDefaultEnvironment{Environment: none}).Nothing()
	set := added.When(company.SetDefaultEnvironment{Environment: domaintest.Environment}).
		Then(company.DefaultEnvironmentSet{Environment: domaintest.Environment})
	require.Equal(t, domaintest.Environment, set.State().DefaultEnvironment)
	set.When(company.SetDefaultEnvironment{Environment: domaintest.Environment}).Nothing()
	back := set.When(company.SetDefaultEnvironment{Environment: none}).Then(company.DefaultEnvironmentSet{})
	require.True(t, back.State().DefaultEnvironment.IsZero())
	require.Equal(t, "Acme", back.State().Name)
}

func TestOnlyACompanyThatExistsHasADefault(t *testing.T) {
	t.Parallel()
	domaintest.Given(t, company.Decider).When(company.SetDefaultEnvironment{Environment: domaintest.Environment}).
		Refused(domain.KindNotFound, "company_not_found", "")
}

func TestAnUnknownCommandIsRefused(t *testing.T) {
	t.Parallel()
	domaintest.Given(t, company.Decider).When(nil).Refused(domain.KindInvalid, "unknown_command", "")
}
