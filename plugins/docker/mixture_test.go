package docker_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
)

// Whatever answers are lost or wrong: what is not released is listed, what is released is gone, and nobody has two.
func TestAfterAnyMixtureOfFaultsTheLabelsTellTheTruth(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		f := newFakeEngine(t)
		var mu sync.Mutex
		faults := rapid.SliceOfN(rapid.SampledFrom([]string{"", "", "", "500", "lost request", "lost reply"}), 60, 60).Draw(rt, "faults")
		f.rule = func(w http.ResponseWriter, r *http.Request) bool {
			mu.Lock()
			fault := ""
			if len(faults) > 0 {
				fault, faults = faults[0], faults[1:]
			}
			mu.Unlock()
			switch fault {
			case "500":
				refuse(w, 500, "broken")
				return true
			case "lost reply":
				f.answer(httptest.NewRecorder(), r)
				lose()
			case "lost request":
				lose()
			}
			return false
		}
		d := f.driver(t)
		a, b := f.request(nil), f.request(nil)
		released := make(map[string]bool)
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			req := rapid.SampledFrom([]drivers.AcquireRequest{a, b}).Draw(rt, "runtime")
			if rapid.Bool().Draw(rt, "acquire") {
				_, err := d.Acquire(t.Context(), req)
				released[req.RuntimeID] = false
				if drivers.OutcomeOf(err) == drivers.OutcomeDefinite {
					rt.Fatalf("nothing here is for ever: %v", err)
				}
				continue
			}
			if d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, drivers.Runtime{})}) == nil {
				released[req.RuntimeID] = true
			}
		}
		mu.Lock()
		faults = nil
		mu.Unlock()
		listed, err := d.ListRuntimes(t.Context(), drivers.ListRequest{Installation: driverstest.Installation, Config: a.Config})
		require.NoError(rt, err)
		for _, r := range listed {
			require.False(rt, released[r.RuntimeID], "a release that succeeded left something")
		}
		for _, req := range []drivers.AcquireRequest{a, b} {
			require.NoError(rt, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, drivers.Runtime{})}))
		}
		require.Zero(rt, f.things(), "everything could be found by its label")
	})
}
