package check

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
)

// holders: no runtime and no slot ever has two holders, an environment never more of them than its capacity when the last was
// admitted, and no slot is given on while something of its last holder may exist outside.
func holders(j *judge) {
	h := &holding{judge: j, runtimes: map[uuid.UUID]*heldRuntime{}, leases: map[uuid.UUID]*holderLease{}, environments: map[uuid.UUID]*slots{}}
	for group := range j.appends {
		for i := range group {
			h.take(&group[i])
		}
		h.settle()
	}
	j.see(len(h.runtimes) + len(h.leases))
	for i := range j.Ledgers {
		ledgerHolders(j, &j.Ledgers[i])
	}
	ranTwice(j)
}

// holding is who holds what, as far as the log was read.
type holding struct {
	*judge
	runtimes     map[uuid.UUID]*heldRuntime
	leases       map[uuid.UUID]*holderLease
	environments map[uuid.UUID]*slots
	// later are questions that can be answered when the append was read whole.
	later []func()
}

type heldRuntime struct {
	holder       uuid.UUID
	since        *record
	gone         *record // DestroyIntended, Destroyed, Lost or Disowned
	destroyed    bool
	disowned     bool
	lost         bool
	active       uuid.UUID // the lease whose Provisioned names it, while that lives
	activeSince  *record
	lastOf       uuid.UUID
	lastOfRecord *record
}

type holderLease struct {
	environment uuid.UUID
	granted     *record
	active      *record
	runtime     uuid.UUID
	over        *record // ReleaseRequested or an end
	end         *record
	forced      bool
	disowned    bool
	passed      bool
	// runtimes are all that were intended for it or held by it.
	runtimes []uuid.UUID
}

type slots struct {
	capacity int
	holders  map[uuid.UUID]int
	taken    map[int]uuid.UUID
	since    map[uuid.UUID]*record
	capped   *record
}

func (h *holding) runtime(id uuid.UUID) *heldRuntime {
	if h.runtimes[id] == nil {
		h.runtimes[id] = &heldRuntime{}
	}
	return h.runtimes[id]
}

func (h *holding) lease(id uuid.UUID) *holderLease {
	if h.leases[id] == nil {
		h.leases[id] = &holderLease{}
	}
	return h.leases[id]
}

func (h *holding) environment(id uuid.UUID) *slots {
	if h.environments[id] == nil {
		h.environments[id] = &slots{holders: map[uuid.UUID]int{}, taken: map[int]uuid.UUID{}, since: map[uuid.UUID]*record{}}
	}
	return h.environments[id]
}

// settle answers what had to wait for the end of the append.
func (h *holding) settle() {
	for _, ask := range h.later {
		ask()
	}
	h.later = h.later[:0]
}

func (h *holding) take(r *record) {
	switch r.category {
	case runtime.Category:
		h.takeRuntime(r)
	case lease.Category:
		h.takeLease(r)
	case admission.Category:
		h.takeAdmission(r)
	}
}

func (h *holding) takeRuntime(r *record) {
	rt, name := h.runtime(r.id), runtimeName(r.id)
	switch e := r.event.(type) {
	case runtime.Intended:
		if r.Version != 1 {
			h.broken(name, "it is intended anew, for lease "+e.Lease.String(), h.streams[r.Stream][0], r)
		}
		h.belongs(rt, r, e.Lease.UUID)
	case runtime.Held:
		id := e.Lease.UUID
		switch {
		case rt.holder != uuid.Nil:
			h.broken(name, fmt.Sprintf("lease %s holds it, and then lease %s as well", rt.holder, id), rt.since, r)
		case rt.gone != nil:
			h.broken(name, fmt.Sprintf("lease %s holds what was given up", id), rt.gone, r)
		}
		rt.holder, rt.since = id, r
		h.belongs(rt, r, id)
	case runtime.Freed:
		if rt.holder != e.Lease.UUID {
			h.broken(name, fmt.Sprintf("lease %s gives it up, which lease %s holds", e.Lease, rt.holder), rt.since, r)
		}
		rt.holder = uuid.Nil
		h.freed(rt, r, e.Lease.UUID)
	case runtime.DestroyIntended:
		if rt.holder != uuid.Nil {
			h.broken(name, fmt.Sprintf("it is to be destroyed while lease %s holds it", rt.holder), rt.since, r)
		}
		rt.gone = first(rt.gone, r)
	case runtime.Destroyed:
		rt.gone, rt.destroyed = first(rt.gone, r), true
	case runtime.Lost:
		rt.gone, rt.lost = first(rt.gone, r), true
	case runtime.Disowned:
		rt.gone, rt.disowned, rt.holder = first(rt.gone, r), true, uuid.Nil
	}
}

// belongs notes that what becomes of the runtime is the lease's.
func (h *holding) belongs(rt *heldRuntime, r *record, id uuid.UUID) {
	rt.lastOf, rt.lastOfRecord = id, r
	l := h.lease(id)
	l.runtimes = append(l.runtimes, r.id)
}

// freed: no lease loses its runtime while it may use it.
func (h *holding) freed(rt *heldRuntime, r *record, id uuid.UUID) {
	h.later = append(h.later, func() {
		l := h.lease(id)
		if l.active != nil && l.runtime == r.id && l.over == nil {
			h.broken(runtimeName(r.id), "it is taken from lease "+id.String()+", which is active", l.active, r)
		}
		if rt.active == id {
			rt.active = uuid.Nil
		}
	})
}

func (h *holding) takeLease(r *record) {
	l, name := h.lease(r.id), leaseName(r.id)
	switch e := r.event.(type) {
	case lease.Requested:
		l.environment = e.Environment.UUID
	case lease.Granted:
		l.granted = first(l.granted, r)
		h.later = append(h.later, func() {
			s := h.environment(l.environment)
			if slot, ok := s.holders[r.id]; !ok || slot != e.Slot || s.since[r.id].AppendID != r.AppendID {
				h.broken(name, fmt.Sprintf("it is granted slot %d, which the environment did not give it", e.Slot), s.since[r.id], r)
			}
		})
	case lease.Provisioned:
		l.active, l.runtime = first(l.active, r), e.Runtime.UUID
		h.later = append(h.later, func() { h.provisioned(r, e.Runtime.UUID) })
	case lease.ReleaseRequested:
		l.over = first(l.over, r)
	case lease.Released, lease.Expired, lease.Canceled, lease.Failed, lease.Retained:
		l.over, l.end = first(l.over, r), first(l.end, r)
	case lease.CleanupForced:
		l.forced = true
	case lease.Disowned:
		l.disowned = true
	case lease.RuntimePassed:
		l.passed = true
	}
}

// provisioned: a lease is active only with a runtime that it holds, and that no other active lease has.
func (h *holding) provisioned(r *record, id uuid.UUID) {
	rt := h.runtime(id)
	if rt.holder != r.id {
		h.broken(leaseName(r.id), fmt.Sprintf("it is active with runtime %s, which %s holds", id, orNobody(rt.holder)), rt.since, r)
	}
	if other := rt.active; other != uuid.Nil && other != r.id && h.lease(other).over == nil {
		h.broken(runtimeName(id), fmt.Sprintf("lease %s and lease %s are active with it at once", other, r.id), rt.activeSince, r)
	}
	rt.active, rt.activeSince = r.id, r
}

func orNobody(id uuid.UUID) string {
	if id == uuid.Nil {
		return "nobody"
	}
	return "lease " + id.String()
}

func (h *holding) takeAdmission(r *record) {
	s, name := h.environment(r.id), string(r.Stream)
	switch e := r.event.(type) {
	case admission.Opened:
		s.capacity, s.capped = e.Capacity, r
	case admission.CapacityChanged:
		s.capacity, s.capped = e.Capacity, r
	case admission.Admitted:
		h.admitted(s, name, r, e)
	case admission.Freed:
		id := e.Lease.UUID
		if slot, ok := s.holders[id]; !ok || slot != e.Slot {
			h.broken(name, fmt.Sprintf("slot %d is freed by lease %s, which does not have it", e.Slot, id), s.since[id], r)
		}
		s.remove(id)
		h.later = append(h.later, func() { h.nothingLeft(name, id, r) })
	case admission.HandedBack:
		id, to := e.Lease.UUID, e.To.UUID
		if slot, ok := s.holders[id]; !ok || slot != e.Slot {
			h.broken(name, fmt.Sprintf("slot %d is handed back by lease %s, which does not have it", e.Slot, id), s.since[id], r)
		}
		s.remove(id)
		s.add(to, e.Slot, r)
		h.later = append(h.later, func() {
			h.nothingLeft(name, id, r)
			if l := h.lease(to); l.end == nil || l.passed {
				h.broken(name, fmt.Sprintf("slot %d is handed back to lease %s, which keeps nothing in it", e.Slot, to), l.end, r)
			}
		})
	}
}

func (h *holding) admitted(s *slots, name string, r *record, e admission.Admitted) {
	id := e.Lease.UUID
	if slot, ok := s.holders[id]; ok {
		h.broken(name, fmt.Sprintf("lease %s has slot %d and gets slot %d as well", id, slot, e.Slot), s.since[id], r)
	}
	if from := e.From.UUID; from != uuid.Nil {
		if slot, ok := s.holders[from]; !ok || slot != e.Slot {
			h.broken(name, fmt.Sprintf("lease %s inherits slot %d from lease %s, which does not have it", id, e.Slot, from), s.since[from], r)
		}
		s.remove(from)
		h.later = append(h.later, func() {
			if l := h.lease(from); l.end == nil {
				h.broken(name, fmt.Sprintf("lease %s inherits slot %d from lease %s, which has not ended", id, e.Slot, from), s.since[from], r)
			}
		})
	} else if s.capacity > 0 && len(s.holders) >= s.capacity {
		h.broken(name, fmt.Sprintf("lease %s is admitted as number %d of %d", id, len(s.holders)+1, s.capacity), s.capped, r)
	}
	if other, ok := s.taken[e.Slot]; ok {
		h.broken(name, fmt.Sprintf("slot %d has two holders, lease %s and lease %s", e.Slot, other, id), s.since[other], r)
	}
	s.add(id, e.Slot, r)
}

func (s *slots) add(id uuid.UUID, slot int, r *record) {
	s.holders[id], s.taken[slot], s.since[id] = slot, id, r
}

func (s *slots) remove(id uuid.UUID) {
	if slot, ok := s.holders[id]; ok {
		delete(s.holders, id)
		if s.taken[slot] == id {
			delete(s.taken, slot)
		}
	}
}

// nothingLeft: whoever gives up a slot has ended, and whatever was made for it is gone, another's, or given up by a person.
func (h *holding) nothingLeft(name string, id uuid.UUID, r *record) {
	l := h.lease(id)
	if l.end == nil {
		h.broken(name, fmt.Sprintf("lease %s gives up its slot and has not ended", id), l.granted, r)
		return
	}
	if l.forced || l.disowned {
		return
	}
	for _, of := range l.runtimes {
		if rt := h.runtime(of); rt.lastOf == id && !rt.destroyed && !rt.disowned && !rt.lost {
			h.broken(name, fmt.Sprintf("lease %s gives up its slot while its runtime %s may exist", id, of), rt.lastOfRecord, l.end, r)
		}
	}
}

// thing is one thing of a provider as its ledger was read.
type thing struct {
	entry Entry // how it began
	fence int64
	lease uuid.UUID
	kept  bool
	gone  *Entry
}

func ledgerHolders(j *judge, led *Ledger) {
	things := map[string]*thing{}
	living := map[uuid.UUID]int{}
	for i := range led.Entries {
		e := &led.Entries[i]
		if e.Thing == "" {
			continue
		}
		j.see(1)
		subject := led.Provider + " " + e.Thing
		t := things[e.Thing]
		switch e.Op {
		case OpCreate, OpAppear:
			if t != nil {
				j.broken(subject, fmt.Sprintf("%s, which was there before: %s", e, t.entry))
			}
			if led.own(*e) && e.Op == OpCreate && led.Class != ClassListable && living[e.Runtime] > 0 && e.Runtime != uuid.Nil {
				j.broken(runtimeName(e.Runtime), fmt.Sprintf("%s: another thing of this runtime lives", e))
			}
			if led.own(*e) && e.Op == OpCreate {
				living[e.Runtime]++
			}
			things[e.Thing] = &thing{entry: *e, fence: e.Fence, lease: e.Lease}
			continue
		case OpDestroy, OpHold, OpKeep, OpExec, OpVanish:
		}
		if t == nil {
			j.broken(subject, e.String()+": it was never made")
			continue
		}
		if t.gone != nil && e.Op != OpDestroy && e.Op != OpVanish {
			j.broken(subject, fmt.Sprintf("%s: it is gone since %s", e, t.gone))
			continue
		}
		j.onThing(led, subject, t, e)
		if (e.Op == OpDestroy || e.Op == OpVanish) && t.gone == nil {
			t.gone = e
			if led.own(t.entry) && t.entry.Op == OpCreate {
				living[t.entry.Runtime]--
			}
		}
	}
}

// onThing: a newer holder's thing heeds no older one, and a kept one nobody but its next holder.
func (j *judge) onThing(led *Ledger, subject string, t *thing, e *Entry) {
	older := e.Fence != 0 && e.Fence < t.fence && e.Op != OpVanish
	if older {
		j.broken(subject, fmt.Sprintf("%s with fence %d; fence %d holds it", e, e.Fence, t.fence))
	}
	switch e.Op {
	case OpHold:
		if e.Fence != 0 && e.Fence == t.fence && e.Lease != t.lease && e.Lease != uuid.Nil && t.lease != uuid.Nil {
			j.broken(subject, fmt.Sprintf("%s: lease %s and lease %s have one fence", e, t.lease, e.Lease))
		}
		t.fence, t.kept = max(t.fence, e.Fence), false
		if e.Lease != uuid.Nil {
			t.lease = e.Lease
		}
	case OpKeep:
		t.fence, t.kept = max(t.fence, e.Fence), true
		if e.Lease != uuid.Nil { // of who took it over in the log and gave it up before it was told so
			t.lease = e.Lease
		}
	case OpExec:
		switch {
		case older:
		case t.kept && e.Fence <= t.fence:
			j.broken(subject, e.String()+": its holder had given it back")
		case e.Lease != uuid.Nil && t.lease != uuid.Nil && e.Lease != t.lease && led.own(t.entry):
			j.broken(subject, fmt.Sprintf("%s for lease %s; lease %s holds it", e, e.Lease, t.lease))
		}
	case OpCreate, OpAppear, OpDestroy, OpVanish:
	}
}

// ranTwice: a command starts once, whatever became of the worker that started it.
func ranTwice(j *judge) {
	started := map[uuid.UUID]*Entry{}
	for i := range j.Ledgers {
		for n := range j.Ledgers[i].Entries {
			e := &j.Ledgers[i].Entries[n]
			if e.Op != OpExec || e.Exec == uuid.Nil {
				continue
			}
			before := started[e.Exec]
			if before == nil {
				started[e.Exec] = e
				continue
			}
			// What was claimed in a part of the log that is lost was never claimed.
			if !j.lostStream(execution.Category, e.Exec) {
				var about *record
				if x := j.execs[e.Exec]; x != nil {
					about = x.claimed
				}
				j.broken(execName(e.Exec), fmt.Sprintf("it ran twice: %s, and %s", before, e), about)
			}
		}
	}
}
