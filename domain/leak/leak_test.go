package leak_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/leak"
)

type scenario = domaintest.Scenario[leak.State, leak.Command, leak.Event]

var (
	found   = leak.Found{Company: domaintest.Company, Lease: domaintest.Lease, Runtime: domaintest.Runtime, Driver: "local", Provider: "local", Why: leak.WhyLate, FirstSeen: domaintest.Noon}
	intent  = leak.DestroyIntended{Worker: domaintest.Worker}
	cleared = leak.Cleared{Proof: leak.ProofDestroyed}
)

func given(t *testing.T, facts ...leak.Event) scenario {
	t.Helper()
	return domaintest.Given[leak.State, leak.Command, leak.Event](t, leak.Decider, facts...)
}

func TestALeakStandsOnTheListUntilItIsCleared(t *testing.T) {
	t.Parallel()
	s := given(t).When(leak.Find{Found: found}).Then(found)
	require.Equal(t, leak.StatusOpen, s.State().Status)
	s.When(leak.Find{Found: found}).Nothing()
	s = s.When(leak.IntendDestroy{Worker: domaintest.Worker}).Then(intent)
	s.When(leak.IntendDestroy{Worker: domaintest.Worker}).Nothing()
	s = s.When(leak.FailDestroy{Code: "busy", Message: "in use"}).Then(leak.DestroyFailed{Code: "busy", Message: "in use"})
	s.When(leak.FailDestroy{Code: "busy", Message: "still"}).Nothing()
	require.Equal(t, "busy", s.State().FailureCode)
	s = s.When(leak.Clear{Proof: leak.ProofDestroyed}).Then(cleared)
	require.Equal(t, leak.StatusCleared, s.State().Status)
	require.False(t, s.State().Destroying)
	s.When(leak.Clear{Proof: leak.ProofAbsent}).Nothing()
	s.When(leak.IntendDestroy{}).Refused(domain.KindStale, "leak_cleared", "")
}

func TestWhatIsFoundAgainStandsOnTheListAgain(t *testing.T) {
	t.Parallel()
	s := given(t, found, intent, leak.DestroyFailed{Code: "busy"}, cleared).When(leak.Find{Found: found}).Then(found)
	require.Equal(t, leak.StatusOpen, s.State().Status)
	require.Empty(t, s.State().FailureCode)
	require.False(t, s.State().Destroying)
}

func TestAPersonClearsALeakWithAReason(t *testing.T) {
	t.Parallel()
	open := given(t, found)
	open.When(leak.Clear{Proof: leak.ProofPerson}).Refused(domain.KindInvalid, "missing_field", "reason")
	open.When(leak.Clear{Proof: leak.ProofPerson, Reason: "\x00"}).Refused(domain.KindInvalid, "invalid_text", "reason")
	open.When(leak.Clear{Proof: leak.ProofPerson, Reason: "removed by hand"}).
		Then(leak.Cleared{Proof: leak.ProofPerson, Reason: "removed by hand"})
	given(t).When(leak.Clear{Proof: leak.ProofPerson, Reason: "r"}).Refused(domain.KindNotFound, "leak_not_found", "")
}

func TestOnlyAProofOrAPersonClearsALeak(t *testing.T) {
	t.Parallel()
	given(t, found).When(leak.Clear{Proof: "hope"}).Refused(domain.KindInvalid, "unknown_proof", "proof")
	given(t).When(leak.Clear{Proof: leak.ProofAbsent}).Nothing()
	given(t).When(leak.Find{Found: leak.Found{Driver: "local"}}).Refused(domain.KindInvalid, "missing_field", "why")
	given(t).When(leak.IntendDestroy{}).Refused(domain.KindNotFound, "leak_not_found", "")
	given(t).When(leak.FailDestroy{Code: "c"}).Nothing()
	given(t).When(nil).Refused(domain.KindInvalid, "unknown_command", "")
}

// The log holds these ids, so how they are made must never change.
func TestTheIDOfALeakFollowsFromTheThing(t *testing.T) {
	t.Parallel()
	require.Equal(t, "f0cb2319-d240-527b-8dde-ee1a8d6f3ef9", leak.OfRuntime(domaintest.Runtime).String())
	installation := uuid.MustParse("00000000-0000-4000-8000-000000000001")
	require.Equal(t, "eb7e015f-2027-556b-ac5a-c957aac623dd", leak.OfName(installation, "docker", "abc").String())
	require.NotEqual(t, leak.OfName(installation, "docker", "abc"), leak.OfName(installation, "dockera", "bc"))
	require.NotEqual(t, leak.OfName(installation, "docker", "abc"), leak.OfName(uuid.New(), "docker", "abc"))
}

func TestAPlaceIsTheSameHoweverItsConfigurationIsWritten(t *testing.T) {
	t.Parallel()
	place := leak.PlaceOf("ssh", "ssh", []byte(`{"host":"h","port":22}`))
	require.Len(t, place, 24)
	require.Equal(t, place, leak.PlaceOf("ssh", "ssh", []byte(`{ "port": 22, "host": "h" }`)))
	require.NotEqual(t, place, leak.PlaceOf("ssh", "ssh", []byte(`{"host":"h","port":23}`)))
	require.NotEqual(t, place, leak.PlaceOf("ssh", "other", []byte(`{"host":"h","port":22}`)))
	require.Equal(t, leak.PlaceOf("local", "local", nil), leak.PlaceOf("local", "local", []byte(`{}`)))
}
