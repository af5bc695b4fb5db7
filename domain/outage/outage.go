// Package outage is when nobody could renew a lease, as far as the log tells: the database was away, or no process that
// serves the API lived.
//
//	the beat is older than 10 s ──► RenewalsInterrupted {from, to} ──► idle deadlines move by it ([Gaps.Move])
//
// A client that cannot say that it lives is not to lose its lease for that. So the idle deadlines that were running in a gap
// move by its length, at most by its cap; the hard end of a lease does not. Nothing is written on the leases: where a
// deadline stands follows from the events of the lease and these, whoever asks and whenever.
//
// There is one stream, and it also holds that an operator confirmed the database's clock after a jump.
package outage

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
)

// Category is the first part of the name of the stream.
const Category = "outage"

// ID is that of the one stream.
var ID = uuid.UUID{}

// Threshold is how long renewals must have been impossible to count as a gap.
const Threshold = 10 * time.Second

// DefaultCap bounds how far idle deadlines move where nobody says otherwise.
const DefaultCap = time.Hour

// Event is a fact about the time in which leases are held.
//
//sumtype:decl
type Event interface {
	domain.Event
	outageEvent()
}

// RenewalsInterrupted says: between the two moments no renewal could be accepted.
type RenewalsInterrupted struct {
	// From is when renewals were last known to be possible, To when they were again.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// ShiftMs is by how much the idle deadlines move that were running all the while.
	ShiftMs int64 `json:"shiftMs"`
	// CapMs is the most that this gap and those before it move one deadline together.
	CapMs int64 `json:"capMs"`
}

// ClockConfirmed says: an operator looked at the database's clock after a jump and says that it is right.
type ClockConfirmed struct {
	Reason string `json:"reason,omitempty"`
}

// EventName is the name in the log.
func (RenewalsInterrupted) EventName() string { return "RenewalsInterrupted" }

// EventName is the name in the log.
func (ClockConfirmed) EventName() string { return "ClockConfirmed" }

func (RenewalsInterrupted) outageEvent() {}
func (ClockConfirmed) outageEvent()      {}

// Codec is the catalog of this part.
var Codec = domain.NewCodec(
	domain.Spec[RenewalsInterrupted, Event](),
	domain.Spec[ClockConfirmed, Event](),
)

// Command is what may be recorded.
type Command interface{ outageCommand() }

// Record records that renewals were possible at From and again at To, and not known to be in between. What was recorded
// already, and what is too short to count, changes nothing.
type Record struct {
	From, To time.Time
	// Cap bounds the shift.
	Cap time.Duration
}

// ConfirmClock records an operator's word.
type ConfirmClock struct{ Reason string }

func (Record) outageCommand()       {}
func (ConfirmClock) outageCommand() {}

// State is what the events add up to.
type State struct {
	Gaps Gaps
	// ClockConfirmed counts the confirmations of the clock.
	ClockConfirmed int
}

// Decider is the decider of the stream.
var Decider = domain.Decider[State, Command, Event]{
	Initial: func() State { return State{} },
	Decide:  Decide,
	Evolve:  Evolve,
}

// Decide answers a command.
func Decide(s State, cmd Command) ([]Event, error) {
	switch c := cmd.(type) {
	case Record:
		return record(s, c)
	case ConfirmClock:
		if err := domain.CheckText("reason", c.Reason, domain.MaxMessage); err != nil {
			return nil, err
		}
		return []Event{ClockConfirmed(c)}, nil
	}
	return nil, domain.Refuse(domain.KindInvalid, "unknown_command", "there is no such command of an outage")
}

// record makes one event of each gap, whoever finds it and how often: what an earlier event covers is cut off.
func record(s State, c Record) ([]Event, error) {
	if c.Cap <= 0 || c.Cap > domain.MaxDuration {
		return nil, domain.Refuse(domain.KindInvalid, "invalid_duration", "is not between 1ms and %s", domain.MaxDuration).On("cap").
			Mend("give a duration such as %s", DefaultCap)
	}
	if n := len(s.Gaps); n > 0 && c.From.Before(s.Gaps[n-1].To) {
		c.From = s.Gaps[n-1].To
	}
	length := c.To.Sub(c.From)
	if length <= Threshold {
		return nil, nil
	}
	return []Event{RenewalsInterrupted{From: c.From, To: c.To, ShiftMs: ceil(min(length, c.Cap)), CapMs: ceil(c.Cap)}}, nil
}

// ceil is a duration in milliseconds; nobody loses the rest of one.
func ceil(d time.Duration) int64 { return int64((d + time.Millisecond - 1) / time.Millisecond) }

// keep is how many gaps are remembered. Deadlines that were running in an older one have long passed, or moved.
const keep = 1000

// Evolve is the state after e.
func Evolve(s State, e Event, _ domain.Meta) State {
	switch e := e.(type) {
	case RenewalsInterrupted:
		s.Gaps = s.Gaps.and(e.gap())
	case ClockConfirmed:
		s.ClockConfirmed++
	}
	return s
}

func (e RenewalsInterrupted) gap() Gap {
	return Gap{From: e.From, To: e.To, Shift: time.Duration(e.ShiftMs) * time.Millisecond, Cap: time.Duration(e.CapMs) * time.Millisecond}
}

// Gap is a time without renewals.
type Gap struct {
	From, To   time.Time
	Shift, Cap time.Duration
}

// Open is a gap that has not ended yet, as of now.
func Open(from, now time.Time, limit time.Duration) Gap {
	return Gap{From: from, To: now, Shift: min(now.Sub(from), limit), Cap: limit}
}

// Gaps are gaps in their order.
type Gaps []Gap

// and is g with one more; what there is stays as it is.
func (g Gaps) and(one Gap) Gaps {
	return append(slices.Clone(g[max(len(g)-keep+1, 0):]), one)
}

// With is g with one more gap after them.
func (g Gaps) With(one Gap) Gaps { return append(slices.Clone(g), one) }

// Move is where an idle deadline stands that was set at since: it moves by every gap since then in which it was running, by
// their caps at most. A deadline that passed before a gap does not move: what has ended stays ended.
func (g Gaps) Move(deadline, since time.Time) time.Time {
	first, _ := slices.BinarySearchFunc(g, since, func(gap Gap, t time.Time) int {
		if gap.To.After(t) {
			return 1
		}
		return -1
	})
	var moved time.Duration
	for _, gap := range g[first:] {
		if !deadline.Add(moved).After(gap.From) {
			break
		}
		from := gap.From
		if since.After(from) {
			from = since
		}
		moved = max(moved, min(moved+min(gap.Shift, gap.To.Sub(from)), gap.Cap))
	}
	return deadline.Add(moved)
}

// Passed is the latest deadline, set at since, that has passed by now wherever the gaps moved it: the inverse of [Gaps.Move].
func (g Gaps) Passed(now, since time.Time) time.Time {
	var most time.Duration
	for _, gap := range g {
		most = max(most, gap.Cap)
	}
	// Move never goes back, so half of what is left can be left out each time. The log counts in microseconds.
	low, high := int64(0), most.Microseconds()+1
	for low < high {
		back := (low + high) / 2
		if g.Move(now.Add(-time.Duration(back)*time.Microsecond), since).After(now) {
			low = back + 1
		} else {
			high = back
		}
	}
	return now.Add(-time.Duration(low) * time.Microsecond)
}
