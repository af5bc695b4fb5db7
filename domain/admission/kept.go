package admission

import (
	"maps"
	"slices"

	"github.com/tenure-dev/tenure/domain"
)

// A lease that has ended may keep its runtime, and with it the slot, for the next lease of the same scope.
//
//	holder ──rest──► idle ──────── a lease of its scope enters ────────► its slot, with the runtime in it, is that lease's
//	                  │ ▲                                                        │
//	                  │ └──────────────── hand back, unused ─────────────────────┘
//	                  └──── somebody waits ────► evicted ──leave──► freed, and granted to who waits
//
// Nobody waits beside an idle slot: as many are evicted as there are who wait, the longest idle first. One whose teardown
// does not succeed is stalled: it counts for nobody, and another one is evicted in its place.

// Idled says: a lease has ended and keeps its slot, for the runtime that is kept in it.
type Idled struct {
	Lease domain.LeaseID `json:"leaseId"`
	// Scope is whose it may be next; absent: nobody's.
	Scope string `json:"scope,omitempty"`
}

// Evicted says: the kept runtime of an idle lease is to go.
type Evicted struct {
	Lease domain.LeaseID `json:"leaseId"`
}

// Stalled says: the teardown of one that was evicted does not succeed for now.
type Stalled struct {
	Lease domain.LeaseID `json:"leaseId"`
}

// HandedBack says: a lease gave the slot back to the one whose kept runtime it did not touch.
type HandedBack struct {
	Lease domain.LeaseID `json:"leaseId"`
	To    domain.LeaseID `json:"toLeaseId"`
	Slot  int            `json:"slot"`
	Scope string         `json:"scope,omitempty"`
}

func (Idled) EventName() string      { return "AdmissionIdled" }
func (Evicted) EventName() string    { return "AdmissionEvicted" }
func (Stalled) EventName() string    { return "AdmissionStalled" }
func (HandedBack) EventName() string { return "AdmissionHandedBack" }

func (Idled) admissionEvent()      {}
func (Evicted) admissionEvent()    {}
func (Stalled) admissionEvent()    {}
func (HandedBack) admissionEvent() {}

// Rest says that a holder has ended and its runtime is kept for a scope. Whoever waits for a slot gets it, with the runtime
// if it is of that scope.
type Rest struct {
	Lease domain.LeaseID
	Scope string
}

// HandBack gives the slot that came with a kept runtime back to the lease which kept it.
type HandBack struct {
	Lease, To domain.LeaseID
	Scope     string
}

// Evict says that the kept runtime of an idle lease goes.
type Evict struct{ Lease domain.LeaseID }

// Stall says that a teardown which was to make room does not succeed for now.
type Stall struct{ Lease domain.LeaseID }

func (Rest) admissionCommand()     {}
func (HandBack) admissionCommand() {}
func (Evict) admissionCommand()    {}
func (Stall) admissionCommand()    {}

// kept is what is known of slots with kept runtimes.
type kept struct {
	// idle are they, the longest idle first.
	idle []Idled
	// leaving are those that were evicted and have not left.
	leaving map[domain.LeaseID]bool
	// wants is the scope of each who waits and would take a kept runtime.
	wants map[domain.LeaseID]string
}

func newKept() kept {
	return kept{leaving: map[domain.LeaseID]bool{}, wants: map[domain.LeaseID]string{}}
}

func (k kept) clone() kept {
	return kept{idle: slices.Clone(k.idle), leaving: maps.Clone(k.leaving), wants: maps.Clone(k.wants)}
}

// of is the place of an idle lease; -1 if it is not idle.
func (k kept) of(id domain.LeaseID) int {
	return slices.IndexFunc(k.idle, func(i Idled) bool { return i.Lease == id })
}

// latest is the lease that was idle for the shortest time of a scope.
func (k kept) latest(scope string) (domain.LeaseID, bool) {
	if scope == "" {
		return domain.LeaseID{}, false
	}
	for _, i := range slices.Backward(k.idle) {
		if i.Scope == scope {
			return i.Lease, true
		}
	}
	return domain.LeaseID{}, false
}

// evict lets as many idle ones go as are needed for those who wait.
func (k kept) evict(waiting, leaving int) []Event {
	var events []Event
	for _, i := range k.idle[:min(max(waiting-leaving, 0), len(k.idle))] {
		events = append(events, Evicted{Lease: i.Lease})
	}
	return events
}

// inherit is the kept runtime that whoever enters may have at once. While somebody waits nobody may: that would be
// overtaking without bound.
func (s State) inherit(c Enter) (Admitted, bool) {
	from, ok := s.kept.latest(c.Scope)
	if !ok || s.line.len() > 0 {
		return Admitted{}, false
	}
	return Admitted{Lease: c.Lease, Slot: s.Holders[from], Rule: RuleKept, From: from}, true
}

func rest(s State, c Rest) ([]Event, error) {
	slot, holds := s.Holders[c.Lease]
	if !holds || s.kept.of(c.Lease) >= 0 {
		return nil, nil
	}
	return append([]Event{Idled(c)}, s.offer(c, slot)...), nil
}

func handBack(s State, c HandBack) ([]Event, error) {
	slot, holds := s.Holders[c.Lease]
	if !holds {
		return nil, nil
	}
	back := HandedBack{Lease: c.Lease, To: c.To, Slot: slot, Scope: c.Scope}
	return append([]Event{back}, s.offer(Rest{Lease: c.To, Scope: c.Scope}, slot)...), nil
}

// offer gives a slot that has just become idle to who is next in the line.
func (s State) offer(c Rest, slot int) []Event {
	if s.line.len() <= len(s.kept.leaving) {
		return nil
	}
	i, rule := s.line.next(MostOvertaken(s.MaxQueued))
	next := s.line.waiters[i].lease
	if c.Scope == "" || s.kept.wants[next] != c.Scope {
		return []Event{Evicted{Lease: c.Lease}}
	}
	return []Event{Admitted{Lease: next, Slot: slot, Rule: rule, From: c.Lease}}
}

func evict(s State, c Evict) ([]Event, error) {
	if s.kept.of(c.Lease) < 0 {
		return nil, nil
	}
	return []Event{Evicted(c)}, nil
}

func stall(s State, c Stall) ([]Event, error) {
	if !s.kept.leaving[c.Lease] {
		return nil, nil
	}
	return append([]Event{Stalled(c)}, s.kept.evict(s.line.len(), len(s.kept.leaving)-1)...), nil
}

// evolveKept is [Evolve] for what this file keeps.
func (s *State) evolveKept(e Event) {
	k := &s.kept
	switch e := e.(type) {
	case Waiting:
		if e.Scope != "" {
			k.wants[e.Lease] = e.Scope
		}
	case Admitted:
		delete(k.wants, e.Lease)
		if !e.From.IsZero() {
			delete(s.Holders, e.From)
			k.awake(e.From)
		}
	case Left:
		delete(k.wants, e.Lease)
	case Freed:
		k.awake(e.Lease)
		delete(k.leaving, e.Lease)
	case Idled:
		k.idle = append(k.idle, e)
	case Evicted:
		k.awake(e.Lease)
		k.leaving[e.Lease] = true
	case Stalled:
		delete(k.leaving, e.Lease)
	case HandedBack:
		delete(s.Holders, e.Lease)
		s.Holders[e.To] = e.Slot
		k.idle = append(k.idle, Idled{Lease: e.To, Scope: e.Scope})
	case Opened, CapacityChanged, Closed:
	}
}

func (k *kept) awake(id domain.LeaseID) {
	if i := k.of(id); i >= 0 {
		k.idle = slices.Delete(k.idle, i, i+1)
	}
}

// Idle are the leases whose kept runtimes take up slots, the longest idle first.
func (s State) Idle() []domain.LeaseID {
	ids := make([]domain.LeaseID, len(s.kept.idle))
	for n, i := range s.kept.idle {
		ids[n] = i.Lease
	}
	return ids
}
