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

func TestAnUnknownCommandIsRefused(t *testing.T) {
	t.Parallel()
	domaintest.Given(t, company.Decider).When(nil).Refused(domain.KindInvalid, "unknown_command", "")
}
