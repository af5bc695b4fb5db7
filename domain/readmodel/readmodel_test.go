package readmodel_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/readmodel"
)

func TestASkipIsRecordedOnce(t *testing.T) {
	t.Parallel()
	skipped := readmodel.Skipped{Name: "leases", Stream: "lease-1", Position: 7, Reason: "cannot be folded"}
	after := domaintest.Given(t, readmodel.Decider).When(readmodel.Skip{Skipped: skipped}).Then(skipped)
	after.When(readmodel.Skip{Skipped: skipped}).Nothing()
	require.Equal(t, readmodel.State{Skips: 1, LastSkip: skipped}, after.State())
	other := skipped
	other.Position = 8
	require.Equal(t, 2, after.When(readmodel.Skip{Skipped: other}).Then(other).State().Skips)
}

func TestASkipOfNothingIsRefused(t *testing.T) {
	t.Parallel()
	for _, s := range []readmodel.Skipped{
		{Stream: "lease-1", Position: 7}, {Name: "leases", Position: 7}, {Name: "leases", Stream: "lease-1"},
	} {
		domaintest.Given(t, readmodel.Decider).When(readmodel.Skip{Skipped: s}).Refused(domain.KindInvalid, "missing_field", "stream")
	}
	domaintest.Given(t, readmodel.Decider).When(nil).Refused(domain.KindInvalid, "unknown_command", "")
}

func TestWhatTheFoldSaidIsCleaned(t *testing.T) {
	t.Parallel()
	long := readmodel.Skipped{Name: "leases", Stream: "lease-1", Position: 7, Reason: "\x00" + strings.Repeat("x", 2*domain.MaxMessage)}
	want := long
	want.Reason = domain.Clean(long.Reason, domain.MaxMessage)
	domaintest.Given(t, readmodel.Decider).When(readmodel.Skip{Skipped: long}).Then(want)
}
