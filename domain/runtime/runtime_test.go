package runtime_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/runtime"
)

type scenario = domaintest.Scenario[runtime.State, runtime.Command, runtime.Event]

var (
	holder   = domaintest.Lease
	other    = domaintest.ID[domain.LeaseID](99)
	provider = "provider-lease-1"
	intent   = runtime.Intended{Company: domaintest.Company, Lease: holder, Driver: "local", Provider: "local"}
	gone     = runtime.ConfirmDestroyed{Proof: runtime.ProofReleased}
	neverWas = runtime.ConfirmDestroyed{Proof: runtime.ProofNeverMade}
)

func given(t *testing.T, facts ...runtime.Event) scenario {
	t.Helper()
	return domaintest.Given[runtime.State, runtime.Command, runtime.Event](t, runtime.Decider, facts...)
}

func intended(t *testing.T) scenario { return given(t, intent) }
func held(t *testing.T) scenario {
	return given(t, intent, runtime.Made{ProviderLeaseID: &provider}, runtime.Held{Lease: holder})
}
func free(t *testing.T) scenario       { return given(t, intent, runtime.Made{}) }
func destroying(t *testing.T) scenario { return given(t, intent, runtime.DestroyIntended{}) }
func destroyed(t *testing.T) scenario {
	return given(t, intent, runtime.DestroyIntended{}, runtime.Destroyed{Proof: runtime.ProofReleased})
}

func TestARuntimeLivesFromIntentToItsEnd(t *testing.T) {
	t.Parallel()
	s := given(t).When(runtime.Intend{Intended: intent}).Then(intent)
	require.Equal(t, runtime.StatusIntended, s.State().Status)
	s = s.When(runtime.Hold{Lease: holder, ProviderLeaseID: &provider}).
		Then(runtime.Made{ProviderLeaseID: &provider}, runtime.Held{Lease: holder})
	require.Equal(t, runtime.State{Status: runtime.StatusHeld, Origin: intent, ProviderLeaseID: &provider, Holder: holder, Last: holder}, s.State())
	s = s.When(runtime.Destroy{Lease: holder, Reason: "released"}).Then(runtime.Freed{Lease: holder}, runtime.DestroyIntended{Reason: "released"})
	require.Equal(t, runtime.StatusDestroying, s.State().Status)
	require.True(t, s.State().Holder.IsZero())
	s = s.When(gone).Then(runtime.Destroyed{Proof: runtime.ProofReleased})
	require.Equal(t, runtime.StatusDestroyed, s.State().Status)
}

func TestIntendingAgainForTheSameLeaseChangesNothing(t *testing.T) {
	t.Parallel()
	intended(t).When(runtime.Intend{Intended: intent}).Nothing()
	foreign := intent
	foreign.Lease = other
	intended(t).When(runtime.Intend{Intended: foreign}).Refused(domain.KindConflict, "runtime_exists", "")
	for _, s := range []scenario{held(t), free(t), destroying(t), destroyed(t)} {
		s.When(runtime.Intend{Intended: intent}).Refused(domain.KindConflict, "runtime_exists", "")
	}
}

func TestItIsHeldByOneLeaseOnly(t *testing.T) {
	t.Parallel()
	held(t).When(runtime.Hold{Lease: holder}).Nothing()
	for _, s := range []scenario{given(t), intended(t), held(t), free(t), destroying(t), destroyed(t)} {
		s.When(runtime.Hold{Lease: other}).Refused(domain.KindConflict, "runtime_not_free", "")
	}
	for _, s := range []scenario{free(t), destroying(t), destroyed(t)} {
		s.When(runtime.Hold{Lease: holder}).Refused(domain.KindConflict, "runtime_not_free", "")
	}
}

func TestWhatMayExistCanBeDestroyed(t *testing.T) {
	t.Parallel()
	for _, s := range []scenario{intended(t), free(t)} {
		s.When(runtime.Destroy{Lease: holder, Reason: "r"}).Then(runtime.DestroyIntended{Reason: "r"})
	}
	for _, s := range []scenario{destroying(t), destroyed(t)} {
		s.When(runtime.Destroy{Lease: holder, Reason: "r"}).Nothing()
	}
	given(t).When(runtime.Destroy{}).Refused(domain.KindNotFound, "runtime_not_found", "")
}

func TestAKeptRuntimeIsGivenToTheNextLease(t *testing.T) {
	t.Parallel()
	kept := held(t).When(runtime.Free{Lease: holder}).Then(runtime.Freed{Lease: holder})
	kept.When(runtime.Free{Lease: holder}).Nothing()
	taken := kept.When(runtime.Take{Lease: other}).Then(runtime.Held{Lease: other})
	require.Equal(t, other, taken.State().Holder)
	taken.When(runtime.Take{Lease: other}).Nothing()
	taken.When(runtime.Take{Lease: holder}).Refused(domain.KindConflict, "runtime_not_free", "")
	taken.When(runtime.Free{Lease: holder}).Refused(domain.KindConflict, "runtime_not_held", "")
	taken.When(runtime.Destroy{Lease: holder}).Refused(domain.KindStale, "runtime_passed_on", "")
	taken.When(runtime.Destroy{Lease: other, Reason: "r"}).Then(runtime.Freed{Lease: other}, runtime.DestroyIntended{Reason: "r"})
	for _, s := range []scenario{given(t), intended(t), held(t), destroying(t), destroyed(t)} {
		s.When(runtime.Take{Lease: other}).Refused(domain.KindConflict, "runtime_not_free", "")
		s.When(runtime.Free{Lease: other}).Refused(domain.KindConflict, "runtime_not_held", "")
	}
}

func TestALostRuntimeIsNobodysAndCountsAsExisting(t *testing.T) {
	t.Parallel()
	lost := held(t).When(runtime.Lose{Reason: "identity_mismatch"}).
		Then(runtime.Freed{Lease: holder}, runtime.Lost{Reason: "identity_mismatch"})
	require.True(t, lost.State().Holder.IsZero())
	free(t).When(runtime.Lose{Reason: "r"}).Then(runtime.Lost{Reason: "r"})
	lost.When(runtime.Lose{Reason: "again"}).Nothing()
	lost.When(runtime.Take{Lease: other}).Refused(domain.KindConflict, "runtime_not_free", "")
	lost.When(gone).Refused(domain.KindConflict, "runtime_not_destroying", "")
	lost.When(runtime.Destroy{Lease: holder, Reason: "found"}).Then(runtime.DestroyIntended{Reason: "found"})
	given(t).When(runtime.Lose{}).Refused(domain.KindNotFound, "runtime_not_found", "")
	for _, s := range []scenario{intended(t), destroying(t), destroyed(t)} {
		s.When(runtime.Lose{}).Refused(domain.KindConflict, "runtime_not_made", "")
	}
}

func TestItIsGoneOnlyWithAProof(t *testing.T) {
	t.Parallel()
	destroying(t).When(neverWas).Then(runtime.Destroyed{Proof: runtime.ProofNeverMade})
	intended(t).When(neverWas).Then(runtime.Destroyed{Proof: runtime.ProofNeverMade})
	intended(t).When(gone).Refused(domain.KindConflict, "runtime_not_destroying", "")
	for _, s := range []scenario{held(t), free(t)} {
		s.When(gone).Refused(domain.KindConflict, "runtime_not_destroying", "")
		s.When(neverWas).Refused(domain.KindConflict, "runtime_not_destroying", "")
	}
	destroyed(t).When(gone).Nothing()
	given(t).When(gone).Refused(domain.KindNotFound, "runtime_not_found", "")
	destroying(t).When(runtime.ConfirmDestroyed{}).Refused(domain.KindInvalid, "unknown_proof", "proof")
}

func TestAnUnknownCommandIsRefused(t *testing.T) {
	t.Parallel()
	given(t).When(nil).Refused(domain.KindInvalid, "unknown_command", "")
}
