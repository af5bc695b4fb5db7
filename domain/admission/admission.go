// Package admission decides which leases have a slot of an environment, and who waits for the next one.
//
//	         slot free                     free / leave
//	request ───────────► admitted(slot n) ─────────────► gone
//	    │ all taken                                        ▲
//	    ▼                        a slot got free           │ leave
//	 waiting (in order) ──────────► admitted ──────────────┘
//
// One stream per environment holds the facts, so that two grants of one slot are a version conflict in the log and never
// two holders.
//
// Who waits is granted by class, then by the share of its key ([Standing]: weighted fairness within the class), then by age.
// There is a bound to that: nobody is overtaken by more than [MostOvertaken] requests that came after it, whatever their
// class, key or weight. Whoever waits longest and has been overtaken that often is next. So whoever enters the queue is
// granted after at most as many grants as there were ahead of it and that bound together, which is twice the limit of the
// queue, unless that is very small: nobody starves. The order follows from the facts alone; a replay has the same.
//
// A capacity lowered below what is held takes nothing away, and grants nothing until there is room again.
package admission

import (
	"maps"

	"github.com/tenure-dev/tenure/domain"
)

// Category is the first part of the name of an admission stream; the second is the environment's id.
const Category = "admission"

// Event is a fact about who is admitted.
//
//sumtype:decl
type Event interface {
	domain.Event
	admissionEvent()
}

// Opened says: the environment admits leases.
type Opened struct {
	// Capacity is the most leases that hold a slot at once; 0 is no limit.
	Capacity int `json:"capacity"`
	// MaxQueued is the most leases that wait at once, 0 that nobody waits; absent is [DefaultMaxQueued].
	MaxQueued *int `json:"maxQueued,omitempty"`
}

// CapacityChanged says: the limits are these now. What is held above a lowered limit stays held, and who waits keeps waiting.
type CapacityChanged struct {
	Capacity  int  `json:"capacity"`
	MaxQueued *int `json:"maxQueued,omitempty"`
}

// Closed says: the environment admits no more leases.
type Closed struct{}

// Waiting says: a lease is in the queue.
type Waiting struct {
	Lease domain.LeaseID `json:"leaseId"`
	Standing
	// Scope is that of the kept runtimes which it would take; absent: none.
	Scope string `json:"scope,omitempty"`
}

// Admitted says: a lease has a slot.
type Admitted struct {
	Lease domain.LeaseID `json:"leaseId"`
	Slot  int            `json:"slot"`
	// Rule is why it was this one; absent in the log of old.
	Rule Rule `json:"rule,omitempty"`
	// From is the lease whose slot it is, with the runtime that was kept in it.
	From domain.LeaseID `json:"fromLeaseId,omitzero"`
}

// Left says: a lease gave up its place in the queue.
type Left struct {
	Lease domain.LeaseID `json:"leaseId"`
}

// Freed says: a slot is free again.
type Freed struct {
	Lease domain.LeaseID `json:"leaseId"`
	Slot  int            `json:"slot"`
}

func (Opened) EventName() string          { return "AdmissionOpened" }
func (CapacityChanged) EventName() string { return "AdmissionCapacityChanged" }
func (Closed) EventName() string          { return "AdmissionClosed" }
func (Waiting) EventName() string         { return "AdmissionWaiting" }
func (Admitted) EventName() string        { return "AdmissionGranted" }
func (Left) EventName() string            { return "AdmissionLeft" }
func (Freed) EventName() string           { return "AdmissionFreed" }

func (Opened) admissionEvent()          {}
func (CapacityChanged) admissionEvent() {}
func (Closed) admissionEvent()          {}
func (Waiting) admissionEvent()         {}
func (Admitted) admissionEvent()        {}
func (Left) admissionEvent()            {}
func (Freed) admissionEvent()           {}

// Codec is the catalog of this part.
var Codec = domain.NewCodec(
	domain.Spec[Opened, Event](),
	domain.Spec[CapacityChanged, Event](),
	domain.Spec[Closed, Event](),
	domain.Spec[Waiting, Event](),
	domain.Spec[Admitted, Event](),
	domain.Spec[Left, Event](),
	domain.Spec[Freed, Event](),
	domain.Spec[Idled, Event](),
	domain.Spec[Evicted, Event](),
	domain.Spec[Stalled, Event](),
	domain.Spec[HandedBack, Event](),
)

// Command is what may be asked of an admission.
type Command interface{ admissionCommand() }

// Open starts admitting, with limits.
type Open struct {
	Capacity  int
	MaxQueued *int
}

// ChangeCapacity sets the limits and admits whom they make room for.
type ChangeCapacity struct {
	Capacity  int
	MaxQueued *int
}

// Close stops admitting; who waits keeps waiting for a slot to be freed.
type Close struct{}

// Enter asks for a slot: admitted at once if one is free and nobody waits, else in the queue, unless that is full.
type Enter struct {
	Lease domain.LeaseID
	Standing
	// Scope is that of the kept runtimes which it would take; "" for none.
	Scope string
	// NoWait asks to be admitted at once or refused.
	NoWait bool
}

// Leave gives up a slot or a place in the queue, and admits whom that makes room for.
type Leave struct{ Lease domain.LeaseID }

func (Open) admissionCommand()           {}
func (ChangeCapacity) admissionCommand() {}
func (Close) admissionCommand()          {}
func (Enter) admissionCommand()          {}
func (Leave) admissionCommand()          {}

// State is who is admitted and who waits. An environment may hold many thousands of leases, so what is in it is changed in
// place: a state given to [Evolve] is used up, and [Decide] never evolves the state it was given.
type State struct {
	IsOpen   bool
	Capacity int
	// MaxQueued is the most leases that wait at once.
	MaxQueued int
	// Holders is the slot of each admitted lease.
	Holders map[domain.LeaseID]int
	line    line
	slots   slotBook
	kept    kept
	// pace is for those who ask how long it takes; nothing is decided by it.
	pace pace
	// known says that it was opened, also when it is closed again.
	known bool
}

// Clone is a copy that lives on when s is used up.
func (s State) Clone() State {
	s.Holders, s.line, s.kept = maps.Clone(s.Holders), s.line.clone(), s.kept.clone()
	return s
}

// Decider is the admission's decider.
var Decider = domain.Decider[State, Command, Event]{
	Initial: func() State { return State{Holders: map[domain.LeaseID]int{}, line: newLine(), kept: newKept()} },
	Decide:  Decide,
	Evolve:  Evolve,
}

// Decide answers a command.
func Decide(s State, cmd Command) ([]Event, error) {
	if c, ok := cmd.(Open); ok {
		return open(s, c)
	}
	if !s.known {
		return nil, domain.NotFound("environment")
	}
	switch c := cmd.(type) {
	case ChangeCapacity:
		return changeCapacity(s, c)
	case Close:
		if !s.IsOpen {
			return nil, nil
		}
		return []Event{Closed{}}, nil
	case Enter:
		return enter(s, c)
	case Leave:
		return leave(s, c)
	case Rest:
		return rest(s, c)
	case HandBack:
		return handBack(s, c)
	case Evict:
		return evict(s, c)
	case Stall:
		return stall(s, c)
	}
	return nil, domain.Refuse(domain.KindInvalid, "unknown_command", "the admission does not know this command")
}

func open(s State, c Open) ([]Event, error) {
	if s.known {
		return nil, domain.Refuse(domain.KindConflict, "environment_exists", "this environment admits leases already")
	}
	if err := checkLimits(c.Capacity, c.MaxQueued); err != nil {
		return nil, err
	}
	return []Event{Opened(c)}, nil
}

func changeCapacity(s State, c ChangeCapacity) ([]Event, error) {
	if err := checkLimits(c.Capacity, c.MaxQueued); err != nil {
		return nil, err
	}
	if c.Capacity == s.Capacity && QueueLimit(c.MaxQueued) == s.MaxQueued {
		return nil, nil
	}
	next := s
	next.Capacity, next.MaxQueued = c.Capacity, QueueLimit(c.MaxQueued)
	return append([]Event{CapacityChanged(c)}, next.admitWaiting(len(s.Holders), s.slots)...), nil
}

func checkLimits(capacity int, maxQueued *int) error {
	if capacity < 0 {
		return domain.Refuse(domain.KindInvalid, "invalid_capacity", "must not be negative").On("maxLeases").
			Mend("give the most leases that may be active at once; 0 is no limit")
	}
	return CheckMaxQueued(maxQueued)
}

func enter(s State, c Enter) ([]Event, error) {
	if _, holds := s.Holders[c.Lease]; holds || s.line.has(c.Lease) {
		return nil, nil
	}
	if !s.IsOpen {
		return nil, domain.Refuse(domain.KindConflict, "environment_archived", "the environment is archived").On("environmentId").
			Mend("lease another environment")
	}
	if err := CheckStanding(c.Standing); err != nil {
		return nil, err
	}
	inherited, ok := s.inherit(c)
	switch {
	case ok:
		return []Event{inherited}, nil
	case hasRoom(s.Capacity, len(s.Holders)) && s.line.len() == 0:
		slot, _ := s.slots.take()
		return []Event{Admitted{Lease: c.Lease, Slot: slot, Rule: RuleFree}}, nil
	case c.NoWait:
		return nil, domain.Refuse(domain.KindBusy, "no_capacity_now", "all %d slots of the environment are taken, and %d wait", s.Capacity, s.line.len()).
			Mend("try again later, or leave noWait out to wait in the queue")
	case s.line.len() >= s.MaxQueued:
		return nil, queueFull(s)
	}
	waiting := Waiting{Lease: c.Lease, Standing: c.Standing, Scope: c.Scope}
	return append([]Event{waiting}, s.kept.evict(s.line.len()+1, len(s.kept.leaving))...), nil
}

func queueFull(s State) error {
	if s.MaxQueued == 0 {
		return domain.Refuse(domain.KindBusy, "queue_full", "all %d slots of the environment are taken, and nobody may wait for one", s.Capacity).
			Mend("try again later, or raise maxLeases or maxQueued of the environment")
	}
	return domain.Refuse(domain.KindBusy, "queue_full", "%d wait for a slot of the environment already, and no more may", s.line.len()).
		Mend("try again later, or raise maxLeases or maxQueued of the environment")
}

func leave(s State, c Leave) ([]Event, error) {
	if slot, ok := s.Holders[c.Lease]; ok {
		admitted := s.admitWaiting(len(s.Holders)-1, s.slots.give(slot))
		return append([]Event{Freed{Lease: c.Lease, Slot: slot}}, admitted...), nil
	}
	if s.line.has(c.Lease) {
		return []Event{Left(c)}, nil
	}
	return nil, nil
}

// admitWaiting gives free slots to who waits, in order.
func (s State) admitWaiting(held int, slots slotBook) []Event {
	var events []Event
	waiting, bound := &s.line, MostOvertaken(s.MaxQueued)
	for hasRoom(s.Capacity, held) {
		i, rule := waiting.next(bound)
		if i == 0 {
			break
		}
		var slot int
		slot, slots = slots.take()
		id := waiting.waiters[i].lease
		events = append(events, Admitted{Lease: id, Slot: slot, Rule: rule})
		held++
		if !hasRoom(s.Capacity, held) || waiting.len() == 1 {
			break
		}
		if len(events) == 1 { // most often there is room for one, and no need for a copy
			copied := s.line.clone()
			waiting = &copied
		}
		waiting.remove(id, true)
	}
	return events
}

func hasRoom(capacity, held int) bool { return capacity == 0 || held < capacity }

// Evolve is the state after e; it uses s up.
func Evolve(s State, e Event, m domain.Meta) State {
	s.evolveKept(e)
	switch e := e.(type) {
	case Opened:
		s.known, s.IsOpen, s.Capacity, s.MaxQueued = true, true, e.Capacity, QueueLimit(e.MaxQueued)
	case CapacityChanged:
		s.Capacity, s.MaxQueued = e.Capacity, QueueLimit(e.MaxQueued)
	case Closed:
		s.IsOpen = false
	case Waiting:
		s.pace = s.pace.queued(m.At, s.line.len())
		s.line.add(e.Lease, e.Standing)
	case Admitted:
		s.line.remove(e.Lease, true)
		s.Holders[e.Lease] = e.Slot
		s.slots = s.slots.mark(e.Slot)
	case Left:
		s.line.remove(e.Lease, false)
	case Freed:
		s.pace = s.pace.freed(m.At, s.line.len())
		delete(s.Holders, e.Lease)
		s.slots = s.slots.give(e.Slot)
	case Idled, Evicted, Stalled, HandedBack:
	}
	return s
}
