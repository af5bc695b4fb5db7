// Package admission decides which leases have a slot of an environment, and who waits for the next one.
//
//	         slot free                     free / leave
//	request ───────────► admitted(slot n) ─────────────► gone
//	    │ all taken                                        ▲
//	    ▼                        a slot got free           │ leave
//	 waiting (in order) ──────────► admitted ──────────────┘
//
// One stream per environment holds the facts, so that two grants of one slot are a version conflict in the log and never
// two holders. The order is first come, first served; ties cannot arise, since the log has one order.
package admission

import (
	"maps"
	"slices"

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
}

// CapacityChanged says: the limit changed. What is held above a lowered limit stays held.
type CapacityChanged struct {
	Capacity int `json:"capacity"`
}

// Closed says: the environment admits no more leases.
type Closed struct{}

// Waiting says: a lease is in the queue.
type Waiting struct {
	Lease domain.LeaseID `json:"leaseId"`
}

// Admitted says: a lease has a slot.
type Admitted struct {
	Lease domain.LeaseID `json:"leaseId"`
	Slot  int            `json:"slot"`
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
)

// Command is what may be asked of an admission.
type Command interface{ admissionCommand() }

// Open starts admitting, with a capacity.
type Open struct{ Capacity int }

// ChangeCapacity sets the limit and admits whom it makes room for.
type ChangeCapacity struct{ Capacity int }

// Close stops admitting; who waits keeps waiting for a slot to be freed.
type Close struct{}

// Enter asks for a slot: admitted at once if one is free and nobody waits, else in the queue.
type Enter struct{ Lease domain.LeaseID }

// Leave gives up a slot or a place in the queue, and admits whom that makes room for.
type Leave struct{ Lease domain.LeaseID }

func (Open) admissionCommand()           {}
func (ChangeCapacity) admissionCommand() {}
func (Close) admissionCommand()          {}
func (Enter) admissionCommand()          {}
func (Leave) admissionCommand()          {}

// State is who is admitted and who waits. An environment may hold many thousands of leases, so the maps are changed in
// place: a state given to [Evolve] is used up, and [Decide] never evolves the state it was given.
type State struct {
	IsOpen   bool
	Capacity int
	// Holders is the slot of each admitted lease.
	Holders map[domain.LeaseID]int
	// Queue is who waits, first come first.
	Queue []domain.LeaseID
	slots slotBook
	// known says that it was opened, also when it is closed again.
	known bool
}

// Clone is a copy that lives on when s is used up.
func (s State) Clone() State {
	s.Holders, s.Queue = maps.Clone(s.Holders), slices.Clone(s.Queue)
	return s
}

// Decider is the admission's decider.
var Decider = domain.Decider[State, Command, Event]{
	Initial: func() State { return State{Holders: map[domain.LeaseID]int{}} },
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
	}
	return nil, domain.Refuse(domain.KindInvalid, "unknown_command", "the admission does not know this command")
}

func open(s State, c Open) ([]Event, error) {
	if s.known {
		return nil, domain.Refuse(domain.KindConflict, "environment_exists", "this environment admits leases already")
	}
	if err := checkCapacity(c.Capacity); err != nil {
		return nil, err
	}
	return []Event{Opened(c)}, nil
}

func changeCapacity(s State, c ChangeCapacity) ([]Event, error) {
	if err := checkCapacity(c.Capacity); err != nil {
		return nil, err
	}
	if c.Capacity == s.Capacity {
		return nil, nil
	}
	return append([]Event{CapacityChanged(c)}, admitWaiting(s.Queue, c.Capacity, len(s.Holders), s.slots)...), nil
}

func checkCapacity(n int) error {
	if n < 0 {
		return domain.Refuse(domain.KindInvalid, "invalid_capacity", "must not be negative").On("maxLeases").
			Mend("give the most leases that may be active at once; 0 is no limit")
	}
	return nil
}

func enter(s State, c Enter) ([]Event, error) {
	if _, holds := s.Holders[c.Lease]; holds || slices.Contains(s.Queue, c.Lease) {
		return nil, nil
	}
	if !s.IsOpen {
		return nil, domain.Refuse(domain.KindConflict, "environment_archived", "the environment is archived").On("environmentId").
			Mend("lease another environment")
	}
	if hasRoom(s.Capacity, len(s.Holders)) && len(s.Queue) == 0 {
		slot, _ := s.slots.take()
		return []Event{Admitted{Lease: c.Lease, Slot: slot}}, nil
	}
	return []Event{Waiting(c)}, nil
}

func leave(s State, c Leave) ([]Event, error) {
	if slot, ok := s.Holders[c.Lease]; ok {
		admitted := admitWaiting(s.Queue, s.Capacity, len(s.Holders)-1, s.slots.give(slot))
		return append([]Event{Freed{Lease: c.Lease, Slot: slot}}, admitted...), nil
	}
	if slices.Contains(s.Queue, c.Lease) {
		return []Event{Left(c)}, nil
	}
	return nil, nil
}

// admitWaiting gives free slots to who waits, in order.
func admitWaiting(queue []domain.LeaseID, capacity, held int, slots slotBook) []Event {
	var events []Event
	for _, id := range queue {
		if !hasRoom(capacity, held) {
			break
		}
		var slot int
		slot, slots = slots.take()
		events = append(events, Admitted{Lease: id, Slot: slot})
		held++
	}
	return events
}

func hasRoom(capacity, held int) bool { return capacity == 0 || held < capacity }

// Evolve is the state after e; it uses s up.
func Evolve(s State, e Event, _ domain.Meta) State {
	switch e := e.(type) {
	case Opened:
		s.known, s.IsOpen, s.Capacity = true, true, e.Capacity
	case CapacityChanged:
		s.Capacity = e.Capacity
	case Closed:
		s.IsOpen = false
	case Waiting:
		s.Queue = append(s.Queue, e.Lease)
	case Admitted:
		s.Queue = without(s.Queue, e.Lease)
		s.Holders[e.Lease] = e.Slot
		s.slots = s.slots.mark(e.Slot)
	case Left:
		s.Queue = without(s.Queue, e.Lease)
	case Freed:
		delete(s.Holders, e.Lease)
		s.slots = s.slots.give(e.Slot)
	}
	return s
}

func without(queue []domain.LeaseID, id domain.LeaseID) []domain.LeaseID {
	if i := slices.Index(queue, id); i >= 0 {
		return slices.Delete(queue, i, i+1)
	}
	return queue
}
