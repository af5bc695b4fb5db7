package domaintest_test

import (
	"slices"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
)

// check looks at the whole world, and at how one lease changed in the last step.
func (w *world) check(changed int, before lease.State) {
	w.t.Helper()
	w.checkOneHolderPerSlot()
	w.checkOneHolderPerRuntime()
	w.checkNothingIsLeftBehind()
	if !slices.Equal(w.queue, w.admission.state.Queue()) {
		w.t.Fatalf("the queue is %s, not %s", w.admission.state.Queue(), w.queue)
	}
	if a := w.admission.state; a.Queued() > 0 && (a.Capacity == 0 || len(a.Holders) < a.Capacity) {
		w.t.Fatalf("%d wait though only %d hold a slot of %d", a.Queued(), len(a.Holders), a.Capacity)
	}
	after := w.leases[changed].state
	if before.Status().Ended() && after.Status() != before.Status() {
		w.t.Fatalf("a lease that was %s is %s", before.Status(), after.Status())
	}
	if after.Attempt < before.Attempt || after.Teardown < before.Teardown {
		w.t.Fatalf("attempts fell from %d and %d to %d and %d", before.Attempt, before.Teardown, after.Attempt, after.Teardown)
	}
	if after.Attempting && after.TearingDown {
		w.t.Fatalf("lease %d is made and torn down at once", changed)
	}
}

// checkOneHolderPerSlot also wants both sides to agree on who holds what.
func (w *world) checkOneHolderPerSlot() {
	w.t.Helper()
	holders := w.admission.state.Holders
	taken := map[int]domain.LeaseID{}
	for id, slot := range holders {
		if other, twice := taken[slot]; twice {
			w.t.Fatalf("slot %d is held by %s and %s", slot, id, other)
		}
		taken[slot] = id
	}
	for i, l := range w.leases {
		slot, holds := holders[leaseID(i)]
		if holds != l.state.HoldsSlot() || holds && slot != l.state.Slot {
			w.t.Fatalf("lease %d is %s, holds %t slot %d; the admission says %t %d",
				i, l.state.Status(), l.state.HoldsSlot(), l.state.Slot, holds, slot)
		}
	}
}

// checkOneHolderPerRuntime wants a runtime held exactly by the active or releasing lease that it was made for.
func (w *world) checkOneHolderPerRuntime() {
	w.t.Helper()
	users := map[domain.RuntimeID]int{}
	for i, l := range w.leases {
		if l.state.Runtime.IsZero() {
			continue
		}
		if other, twice := users[l.state.Runtime]; twice {
			w.t.Fatalf("leases %d and %d have the same runtime", i, other)
		}
		users[l.state.Runtime] = i
		if r := w.runtimeOf(l.state.Runtime).state; l.state.Status() == lease.StatusActive && r.Holder != leaseID(i) {
			w.t.Fatalf("lease %d is active and its runtime is held by %s", i, r.Holder)
		}
	}
	for i, r := range w.runtimes {
		if (r.state.Status == runtime.StatusHeld) != !r.state.Holder.IsZero() {
			w.t.Fatalf("runtime %d is %s with the holder %s", i, r.state.Status, r.state.Holder)
		}
		if user, used := users[runtimeID(i)]; r.state.Status == runtime.StatusHeld && (!used || leaseID(user) != r.state.Holder) {
			w.t.Fatalf("runtime %d is held by %s, who does not know it", i, r.state.Holder)
		}
	}
}

// checkNothingIsLeftBehind wants every runtime that may exist to have a lease that still works with it, or will destroy it,
// and that keeps its slot until then; or else to be on the list of leaks.
func (w *world) checkNothingIsLeftBehind() {
	w.t.Helper()
	for i, r := range w.runtimes {
		if r.state.Status == runtime.StatusNone || r.state.Status == runtime.StatusDestroyed {
			continue
		}
		owner := slices.IndexFunc(w.leases, func(l *leaseStream) bool { return l.state.Runtime == runtimeID(i) })
		if owner < 0 {
			w.t.Fatalf("runtime %d is %s and no lease knows it", i, r.state.Status)
		}
		s := w.leases[owner].state
		if w.leaks[runtimeID(i)] && s.Status().Ended() && !s.NeedsTeardown() {
			continue
		}
		working := !s.Status().Ended() && s.ReleaseReason == ""
		if !working && !s.NeedsTeardown() {
			w.t.Fatalf("runtime %d is %s and its lease, which is %s, will not destroy it", i, r.state.Status, s.Status())
		}
		if _, holds := w.admission.state.Holders[leaseID(owner)]; !holds {
			w.t.Fatalf("runtime %d is %s and its lease, which is %s, gave up its slot", i, r.state.Status, s.Status())
		}
	}
}
