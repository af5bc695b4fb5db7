package runtime_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/runtime"
)

func TestARuntimeOfAnotherInstallationIsNobodysToDestroy(t *testing.T) {
	t.Parallel()
	for _, s := range []scenario{intended(t), held(t), free(t), destroying(t)} {
		s = s.When(runtime.Disown{}).Then(runtime.Disowned{})
		require.Equal(t, runtime.StatusDisowned, s.State().Status)
		require.True(t, s.State().Holder.IsZero())
		s.When(runtime.Disown{}).Nothing()
		s.When(runtime.Destroy{Lease: holder, Reason: "released"}).Nothing()
		s.When(runtime.Hold{Lease: holder}).Refused(domain.KindConflict, "runtime_not_free", "")
		s.When(gone).Refused(domain.KindConflict, "runtime_not_destroying", "")
	}
	destroyed(t).When(runtime.Disown{}).Nothing()
	given(t).When(runtime.Disown{}).Nothing()
}
