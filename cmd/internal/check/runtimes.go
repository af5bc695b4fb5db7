package check

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
)

// runtimes: every runtime that the log has is destroyed, looked after by a lease, or on the list of leaks; what lives at a
// provider is too; and what a lease holds or keeps is there. Nothing is made before the log says that it will be, and nothing
// is destroyed under its lease.
func runtimes(j *judge) {
	a := &account{judge: j, list: leaks(j), held: map[uuid.UUID][]held{}}
	for _, l := range j.allLeases() {
		for _, h := range holds(l) {
			a.held[h.runtime] = append(a.held[h.runtime], h)
		}
	}
	for _, rt := range j.allRuntimes() {
		j.see(1)
		a.accounted(rt)
	}
	for i := range j.Ledgers {
		a.ledger(&j.Ledgers[i])
	}
}

// account is what is known of runtimes beside their own streams.
type account struct {
	*judge
	list list
	// held are the times in which leases have a runtime.
	held map[uuid.UUID][]held
}

// held is a time in which a lease has its runtime: while it is active, and while it keeps it.
type held struct {
	lease   *leaseStory
	runtime uuid.UUID
	// thing is the provider's name of it; nil where the log does not say.
	thing *string
	// to is nil when it has it at the end.
	from, to *record
}

func holds(l *leaseStory) (all []held) {
	h := held{lease: l}
	from := func(r, to *record) {
		h.from, h.to = r, to
		all = append(all, h)
	}
	for i, r := range l.records {
		switch e := r.event.(type) {
		case lease.ProvisioningStarted: // what a lease could not resume, it keeps
			h.runtime, h.thing = e.Runtime.UUID, e.ProviderLeaseID
		case lease.Provisioned:
			h.runtime, h.thing = e.Runtime.UUID, e.ProviderLeaseID
			from(r, l.over())
		case lease.Retained:
			from(r, givenUp(l.records[i:]))
		case lease.Failed:
			if e.KeptUntil != nil {
				from(r, givenUp(l.records[i:]))
			}
		}
	}
	return all
}

// givenUp is the first event by which a lease does not keep its runtime any more.
func givenUp(records []*record) *record {
	for _, r := range records {
		switch r.event.(type) {
		case lease.RetentionEnded, lease.RuntimePassed, lease.Disowned:
			return r
		}
	}
	return nil
}

// list is the list of leaks at the end.
type list struct {
	runtimes map[uuid.UUID]*leakStory
	names    map[string]*leakStory
}

type leakStory struct {
	cleared bool
	proof   leak.Proof
}

// settled reports whether it stands on the list, or a person took it off.
func (l *leakStory) settled() bool { return l != nil && (!l.cleared || l.proof == leak.ProofPerson) }

func leaks(j *judge) list {
	all := list{runtimes: map[uuid.UUID]*leakStory{}, names: map[string]*leakStory{}}
	streams := map[uuid.UUID]*leakStory{}
	for i := range j.records {
		r := &j.records[i]
		switch e := r.event.(type) {
		case leak.Found:
			l := &leakStory{}
			streams[r.id] = l
			// One that is beside the runtime of a lease, or of no id that we know, goes by its own name.
			if r.id == leak.OfRuntime(e.Runtime).UUID {
				all.runtimes[e.Runtime.UUID] = l
			}
			if e.ProviderLeaseID != nil {
				all.names[*e.ProviderLeaseID] = l
			}
		case leak.Cleared:
			if l := streams[r.id]; l != nil {
				l.cleared, l.proof = true, e.Proof
			}
		}
	}
	return all
}

// accounted: somebody looks after what may exist.
func (a *account) accounted(rt *runtimeStory) {
	if rt.destroyed != nil || rt.disowned {
		return
	}
	name, listed := runtimeName(rt.id), a.list.runtimes[rt.id]
	if rt.intended == nil {
		a.broken(name, "nobody intended it", rt.records[0])
		return
	}
	if rt.lost {
		if !listed.settled() {
			a.broken(name, "it is lost, and on no list", rt.records[len(rt.records)-1])
		}
		return
	}
	l := a.leases[rt.last]
	if l == nil {
		a.broken(name, "it is of lease "+rt.last.String()+", which does not exist", rt.intended)
		return
	}
	end, w := l.ended(), workOf(l)
	switch {
	case end == nil && !w.quarantined:
	case l.kept != nil:
	case end != nil && !w.cleaned && !l.forced && !l.disowned && !w.quarantined:
	case listed.settled():
	default:
		a.broken(name, "it may exist, its lease is over, and it is on no list", rt.records[len(rt.records)-1], end, w.failed)
	}
}

func (a *account) ledger(led *Ledger) {
	alive, gone := map[string]*Entry{}, map[string]*Entry{}
	var order []string
	for i := range led.Entries {
		e := &led.Entries[i]
		if e.Thing == "" {
			continue
		}
		switch e.Op {
		case OpCreate, OpAppear:
			if !led.own(*e) {
				continue
			}
			a.see(1)
			if e.Op == OpCreate {
				a.announced(led, e)
			}
			alive[e.Thing] = e
			order = append(order, e.Thing)
		case OpDestroy, OpVanish:
			if t := alive[e.Thing]; t != nil {
				if e.Op == OpDestroy {
					a.destroyedUnder(led, t, e)
				}
				gone[e.Thing] = e
				delete(alive, e.Thing)
			}
		case OpHold, OpKeep, OpExec:
		}
	}
	byRuntime := map[uuid.UUID][]string{}
	for _, id := range order {
		if t := alive[id]; t != nil {
			byRuntime[t.Runtime] = append(byRuntime[t.Runtime], id)
			a.livingThing(led, t)
		}
	}
	for _, rt := range a.allRuntimes() {
		for _, h := range a.held[rt.id] {
			a.heldIsThere(led, rt, h, byRuntime[rt.id], gone)
		}
	}
}

// announced: the log says that something is to be made before it is.
func (a *account) announced(led *Ledger, e *Entry) {
	if e.Runtime == uuid.Nil || a.lostStream(runtime.Category, e.Runtime) {
		return
	}
	rt := a.runtimes[e.Runtime]
	switch {
	case rt == nil || rt.intended == nil:
		a.broken(led.Provider+" "+e.Thing, fmt.Sprintf("%s for %s, which the log does not know", e, runtimeName(e.Runtime)))
	case e.At.Before(rt.intended.RecordedAt.Add(-a.Limits.Skew)):
		a.broken(led.Provider+" "+e.Thing, e.String()+": it was made before it was intended", rt.intended)
	}
}

// destroyedUnder: what a lease has is not destroyed while the lease may use it.
func (a *account) destroyedUnder(led *Ledger, made, e *Entry) {
	for _, h := range a.held[made.Runtime] {
		if h.thing != nil && *h.thing != made.Thing || a.lostHold(h) {
			continue
		}
		if e.At.After(h.from.RecordedAt.Add(a.Limits.Skew)) && (h.to == nil || e.At.Before(h.to.RecordedAt.Add(-a.Limits.Skew))) {
			a.broken(led.Provider+" "+made.Thing, fmt.Sprintf("%s, while %s has it", e, leaseName(h.lease.id)), h.from, h.to)
		}
	}
}

// lostHold reports whether a fork took away some of what happened to a lease and its runtime.
func (a *account) lostHold(h held) bool {
	return a.lostStream(lease.Category, h.lease.id) || a.lostStream(runtime.Category, h.runtime)
}

// livingThing: the log looks after what lives at a provider.
func (a *account) livingThing(led *Ledger, t *Entry) {
	id := t.Runtime
	if a.list.names[t.Thing].settled() {
		return
	}
	rt := a.runtimes[id]
	since, why := t.At, "the log does not know it"
	var about []*record
	switch {
	case rt == nil:
	case rt.destroyed != nil:
		about, why = append(about, rt.destroyed), "the log says that it is destroyed"
		if rt.destroyed.RecordedAt.After(since) {
			since = rt.destroyed.RecordedAt
		}
	case rt.disowned, a.list.runtimes[id].settled():
		return
	default:
		// That somebody looks after the runtime is checked of every runtime; here, that it is this thing.
		l := a.leases[rt.last]
		if l == nil || l.active == nil || l.over() != nil || rt.holder != l.id {
			return
		}
		p, ok := l.active.event.(lease.Provisioned)
		if !ok || p.Runtime.UUID != id || p.ProviderLeaseID == nil || *p.ProviderLeaseID == t.Thing {
			return
		}
		about, why = append(about, l.active), "its lease has "+*p.ProviderLeaseID
		if l.active.RecordedAt.After(since) {
			since = l.active.RecordedAt
		}
	}
	if a.young(since) {
		return
	}
	a.broken(led.Provider+" "+t.Thing, fmt.Sprintf("it lives (%s, %s), %s, and it is on no list", t, runtimeName(id), why), about...)
}

// young reports whether something that nobody looks after may not have been found yet.
func (a *account) young(since time.Time) bool {
	if a.Limits.Settled {
		return false
	}
	return a.Limits.End.Sub(since) <= a.Limits.Reaper+a.allowance(since, a.Limits.End)
}

// heldIsThere: what the log says that a lease holds or keeps is in the provider's ledger.
func (a *account) heldIsThere(led *Ledger, rt *runtimeStory, h held, alive []string, gone map[string]*Entry) {
	if h.to != nil || rt.origin.Provider != led.Provider || rt.destroyed != nil || a.lostHold(h) {
		return
	}
	if len(alive) > 0 && (h.thing == nil || slices.Contains(alive, *h.thing)) {
		return
	}
	detail := "the log says that it has its runtime, which is not there"
	if h.thing != nil {
		if e := gone[*h.thing]; e != nil {
			if e.Op == OpVanish || e.At.After(a.Limits.End.Add(-a.Limits.Skew)) {
				return
			}
			detail += fmt.Sprintf(" (%s)", e)
		}
	}
	a.broken(leaseName(h.lease.id), detail, h.from)
}
